"""The codec's own weights: transforms, gains, entropy network, the edge's graphs."""
