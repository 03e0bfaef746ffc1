"""From tables to what estimators consume: cohort, spells, discharges, panel, costs, features."""
