"""The ClientApp side: the mod, and the command line of peers."""
