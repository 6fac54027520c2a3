"""The second edition of the rules (`core.limits.RULES`): the tables stay as they are.

A service that knows the first one only would fold what follows by that. As it knows no revision
0004 either, it takes no lease here and says why.
"""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only the number goes up."""


def downgrade() -> None:
    raise NotImplementedError("a journal is not taken back: restore a copy of the database")
