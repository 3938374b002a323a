"""From latents to bytes and back: the integer network, symbols, ANS."""
