"""Mailboxes, the links between them, and the hosts that serve them."""
