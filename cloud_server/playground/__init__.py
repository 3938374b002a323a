"""A page for trying: what a picture costs as a stream, what is left of it, what the model says."""
