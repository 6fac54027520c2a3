"""The third edition of the rules (`core.limits.RULES`): the tables stay as they are.

A service that knows the first two only would fold what follows by those. As it knows no revision
0005 either, it takes no lease here and says why.
"""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only the number goes up."""


def downgrade() -> None:
    raise NotImplementedError("a journal is not taken back: restore a copy of the database")
