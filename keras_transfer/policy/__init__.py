"""Settings chosen from the data: every ``auto`` of a configuration gets its value, with a reason."""
