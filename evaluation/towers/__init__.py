"""Vision towers of others, with their attention laid open."""
