"""The types every other layer speaks: protocol, estimand, estimate, results, errors, dates."""
