"""Snapshots of the view, and an index of the few records about how the journal is kept."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Written out and not imported: what this revision made stays what it made.
INT: Any = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KEEPING = "kind IN ('snapshot', 'archived', 'loss-accepted')"


def upgrade() -> None:
    op.create_table(
        "snapshot",
        sa.Column("offset", INT, nullable=False, autoincrement=False),
        sa.Column("part", INT, nullable=False, autoincrement=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("offset", "part"),
        sqlite_strict=True,
    )
    op.create_index(
        "journal_keeping",
        "journal",
        ["kind", "offset"],
        sqlite_where=sa.text(KEEPING),
        postgresql_where=sa.text(KEEPING),
    )


def downgrade() -> None:
    raise NotImplementedError("a journal is not taken back: restore a copy of the database")
