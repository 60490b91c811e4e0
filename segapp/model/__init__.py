"""The model directory: its description, its weights, its card, and which bands of a scene it takes."""
