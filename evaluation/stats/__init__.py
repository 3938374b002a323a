"""Curves, equal accuracy, intervals."""
