"""Scenes: rasters of any format read by window, as physical values with labels beside them."""
