"""Questions that wait for their server, on disk."""
