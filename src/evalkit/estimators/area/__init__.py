"""Designs for areas over time."""
