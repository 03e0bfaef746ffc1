"""Evaluate an integrated mental-health service from its event tables, without fooling the reader."""

__version__ = "0.1.0"
