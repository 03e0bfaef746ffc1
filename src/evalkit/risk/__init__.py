"""Readmission risk: `data` checks and splits, `model` develops or refuses, `validate` measures, `cells` lays out."""
