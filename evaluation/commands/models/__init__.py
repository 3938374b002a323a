"""What a language model still answers, and why."""
