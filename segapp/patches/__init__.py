"""Patches: where they are cut, how they are changed, and how they become an endless stream of batches."""
