"""Bundles of finished runs, and runs of bundles."""
