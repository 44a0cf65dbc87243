"""What makes sure that no upstream outlives us: the guardian, and the look for what an earlier life left behind."""
