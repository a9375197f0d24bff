"""digits_sklearn: a decentralized Flower app with a scikit-learn model."""
