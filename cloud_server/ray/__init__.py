"""The service on many machines, as a Ray Serve application."""
