"""Time, memory and arithmetic of this machine."""
