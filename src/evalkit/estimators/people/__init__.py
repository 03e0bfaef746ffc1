"""Balanced comparisons of people: weights, matching, effects, target trials, missing values, sensitivity."""
