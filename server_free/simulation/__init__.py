"""Running many nodes in one process."""
