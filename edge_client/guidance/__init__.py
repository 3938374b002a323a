"""Which parts of a picture get more bits: by importance, and by what is asked about."""
