"""Time to event, recurrence and pathways through states."""
