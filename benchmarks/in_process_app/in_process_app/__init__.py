"""A Flower app with cheap training, for measurements."""
