"""The loop that all trainers share."""
