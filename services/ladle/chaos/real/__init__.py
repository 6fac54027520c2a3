"""Real chaos: a real broker, a real database, real processes, and what is done to them."""
