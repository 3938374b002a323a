"""Example pictures, how they are made, and the demonstration of `make demo`."""
