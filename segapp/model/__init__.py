"""The model directory (description, weights, model card), and how a scene's bands are matched to a model."""
