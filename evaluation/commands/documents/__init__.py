"""What is made of other commands' sections."""
