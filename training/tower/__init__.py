"""What fits a codec to a vision tower: adapter, conversion of towers."""
