"""A Flower app for the integration tests."""
