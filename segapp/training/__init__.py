"""Training: one loop for every strategy, with recipes as data."""
