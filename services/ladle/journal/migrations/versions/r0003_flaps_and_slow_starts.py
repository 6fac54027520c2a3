"""Timers of kinds that came with slow start and damping: the tables stay as they are.

A service that knows neither would find a timer due that it cannot run. As it knows no revision
0003 either, it takes no lease here and says why.
"""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only the number goes up."""


def downgrade() -> None:
    raise NotImplementedError("a journal is not taken back: restore a copy of the database")
