"""A picture in layers: its stream, and enhancements that make some of its cells finer."""
