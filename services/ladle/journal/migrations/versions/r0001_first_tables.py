"""The first tables: the log, the lease, the outbox, and the view's rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out and not imported: what this revision made stays what it made.
TEXT: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INT: Any = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, INT, nullable=null, autoincrement=False)


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, TEXT, nullable=null)


def _bytes(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _log() -> None:
    op.create_table(
        "journal",
        _int("offset"),
        _int("recorded_at_ms"),
        _int("term"),
        _text("kind"),
        _int("schema_version"),
        _bytes("body"),
        _bytes("salt"),
        _text("body_digest"),
        _text("prev_hash"),
        _text("hash"),
        _text("room_id", null=True),
        _text("server_id", null=True),
        sa.PrimaryKeyConstraint("offset"),
        sqlite_strict=True,
    )
    op.create_table(
        "lease",
        _int("id"),
        _int("term"),
        _text("holder"),
        _int("beats"),
        _int("schema_version"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "outbox",
        _int("id"),
        _int("offset"),
        _int("index"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )


def _servers() -> None:
    op.create_table(
        "server",
        _int("reflects_offset"),
        _text("server_id"),
        _int("incarnation"),
        _int("sequenced"),
        _text("liveness"),
        _text("administration"),
        _int("operator_drain"),
        _text("operator_drain_reason", null=True),
        _int("operator_drain_by_ms", null=True),
        _int("server_drain"),
        _text("server_drain_reason", null=True),
        _int("server_drain_by_ms", null=True),
        _int("admin_sequence"),
        _int("registered_sequence"),
        _int("deregistered_sequence", null=True),
        _int("heard_at_ms"),
        _int("silence_due_ms", null=True),
        _int("lost_at_ms", null=True),
        _int("forget_at_ms", null=True),
        _int("watermark"),
        _text("received_above"),
        _int("hole_since_ms", null=True),
        _int("report_due_ms", null=True),
        _int("report_tries"),
        _int("lists_rooms"),
        _int("complete_sequence"),
        _text("region", null=True),
        _text("zone", null=True),
        _text("labels"),
        _text("host"),
        _int("port"),
        _text("ws_url_template", null=True),
        _int("places_workers"),
        _int("status_interval_ms"),
        _text("liveness_mode"),
        _int("contract_version"),
        _text("external_id", null=True),
        _text("media_ip", null=True),
        _int("udp_port_min", null=True),
        _int("udp_port_max", null=True),
        _text("turn_ports"),
        _text("description"),
        _int("claimed_offset"),
        _text("conflicting_with", null=True),
        sa.PrimaryKeyConstraint("server_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "worker",
        _int("reflects_offset"),
        _text("server_id"),
        _text("worker_id"),
        _text("state"),
        _int("capacity"),
        _int("observed"),
        _int("producers"),
        _int("rooms"),
        _int("cpu_permille"),
        _int("memory_bytes"),
        _int("incarnation"),
        _int("status_sequence"),
        _int("status_offset"),
        _int("lists_rooms"),
        sa.PrimaryKeyConstraint("server_id", "worker_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _rooms() -> None:
    op.create_table(
        "room",
        _int("reflects_offset"),
        _text("room_id"),
        _text("phase"),
        _int("generation"),
        _text("allocation_id"),
        _int("allocated_at_ms"),
        _int("held_until_ms", null=True),
        _int("ends_at_ms", null=True),
        _int("stranded_at_ms", null=True),
        _int("peers"),
        _int("publishers"),
        _int("streams"),
        _int("reserved"),
        _text("wishes"),
        sa.PrimaryKeyConstraint("room_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "router",
        _int("reflects_offset"),
        _text("room_id"),
        _int("router"),
        _text("server_id"),
        _text("worker_id", null=True),
        _int("active"),
        _int("incarnation"),
        _int("created_sequence"),
        _text("named_allocation_id", null=True),
        _int("seen"),
        _int("peers_seen"),
        _int("cost"),
        _int("reserved"),
        _int("reserved_offset"),
        _int("fade_step"),
        _int("fade_at_ms", null=True),
        sa.PrimaryKeyConstraint("room_id", "router"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stamp",
        _int("reflects_offset"),
        _text("room_id"),
        _text("server_id"),
        _int("incarnation"),
        _int("sequence"),
        _int("generation"),
        _text("expired_allocation_id", null=True),
        _text("released_allocation_id", null=True),
        _text("worker_id", null=True),
        _int("seen"),
        _int("until_ms", null=True),
        sa.PrimaryKeyConstraint("room_id", "server_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "closing",
        _int("reflects_offset"),
        _text("room_id"),
        _text("server_id"),
        _int("incarnation"),
        _int("sequence"),
        _text("allocation_id", null=True),
        _text("reason"),
        _int("tries"),
        _int("next_at_ms", null=True),
        sa.PrimaryKeyConstraint("room_id", "server_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _rest() -> None:
    op.create_table(
        "request",
        _int("reflects_offset"),
        _text("user"),
        _text("operation"),
        _text("request_id"),
        _text("digest"),
        _int("offset"),
        _int("expires_at_ms"),
        sa.PrimaryKeyConstraint("user", "operation", "request_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_seen",
        _int("reflects_offset"),
        _text("event_id"),
        _int("expires_at_ms"),
        sa.PrimaryKeyConstraint("event_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "setting",
        _int("reflects_offset"),
        _text("name"),
        _text("value"),
        sa.PrimaryKeyConstraint("name"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "timer",
        _int("reflects_offset"),
        _text("kind"),
        _text("key"),
        _int("due_ms"),
        _int("tries"),
        sa.PrimaryKeyConstraint("kind", "key"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _index(column: str) -> None:
    named = sa.text(f"{column} IS NOT NULL")
    op.create_index(
        f"journal_{column}",
        "journal",
        [column, "offset"],
        sqlite_where=named,
        postgresql_where=named,
    )


def upgrade() -> None:
    _log()
    _index("room_id")
    _index("server_id")
    _servers()
    _rooms()
    _rest()


def downgrade() -> None:
    raise NotImplementedError("a journal is not taken back: restore a copy of the database")
