"""What every command speaks through: standard streams, data and talk."""
