"""The codecs that are compared, ours among them."""
