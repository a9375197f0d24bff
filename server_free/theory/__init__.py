"""What theory says about a topology: how much its averaging helps, and which one to take."""
