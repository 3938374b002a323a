"""From a picture to a stream: guidance, encoder, budget."""
