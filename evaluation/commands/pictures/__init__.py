"""What is left of a picture: for a pixel measure, a reader, a classifier, a person."""
