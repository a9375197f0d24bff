"""The ServerApp side: strategies that say who is active, and nothing else."""
