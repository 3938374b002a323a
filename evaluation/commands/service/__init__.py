"""Speed, bytes on the wire, load, damage, and other people's engines."""
