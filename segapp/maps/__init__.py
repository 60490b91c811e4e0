"""Files that hold a map: rasters, polygons, and the record of how each was made."""
