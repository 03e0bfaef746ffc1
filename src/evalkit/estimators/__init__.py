"""Estimators: plain functions from checked data and an estimand to an `Estimate`."""
