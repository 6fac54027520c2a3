"""The real code in a simulated world of one seed: broker, database and time are made here."""
