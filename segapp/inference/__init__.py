"""A network over a scene in memory: engines, tiles with their halo, blending."""
