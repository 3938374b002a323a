"""Bundles that lie elsewhere: fetched, every hash checked, kept, and used offline afterwards."""
