"""digits_numpy: a decentralized Flower app whose model is two numpy arrays."""
