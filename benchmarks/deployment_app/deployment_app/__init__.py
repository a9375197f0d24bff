"""A Flower app with trivial training, for measurements."""
