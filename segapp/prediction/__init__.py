"""From a scene of any size to a map of it."""
