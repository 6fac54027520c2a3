"""Alembic migrations, shipped with the program; `ladle.journal.schema.upgrade` runs them."""
