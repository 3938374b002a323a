"""What both ends must agree on. Nothing here imports torch, except `shared.nets`."""
