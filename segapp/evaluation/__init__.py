"""Scores: the confusion matrix and everything read off it, boundary F1, the report."""
