"""How every claim is measured. See `python -m evaluation --help`."""
