"""Pictures: found, read, scaled, and shown with their importance."""
