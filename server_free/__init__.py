"""What works without a server: topologies, schedules, plans, mixing and the peers."""
