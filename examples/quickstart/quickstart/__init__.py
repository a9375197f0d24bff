"""A Flower app whose clients train together without a server: handwritten digits, 16 nodes."""
