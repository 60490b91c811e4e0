"""Synthetic scenes to try everything with."""

from segapp.samples.write import write_samples

__all__ = ["write_samples"]
