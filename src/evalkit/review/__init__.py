"""What readers said of a report, what was answered, and what changed: `reviews/<study>/`, without personal data."""
