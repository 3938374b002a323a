"""What stands between the network and the work: keys, limits, bodies, errors."""
