"""Synthetic scenes, to try everything without data of one's own: ``python -m segapp.samples FOLDER``."""
