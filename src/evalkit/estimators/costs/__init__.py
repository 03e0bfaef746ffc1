"""What people cost: generalised linear and two-part models, differences-in-differences, censored histories."""
