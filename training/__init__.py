"""How every shipped weight is made, and the export of a bundle. See `python -m training --help`."""
