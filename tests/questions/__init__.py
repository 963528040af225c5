"""The everyday questions, asked of a cluster of which the answers are known."""
