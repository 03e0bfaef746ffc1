"""Value for money, from draws of cost and effect: no person's row is seen here."""
