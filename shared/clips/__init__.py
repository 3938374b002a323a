"""Clips beyond their bytes: what a reader knows after each frame."""
