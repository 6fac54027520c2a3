"""The tables as SQLModel classes: the source of the migrations, the reads and the batch's SQL.

The ten view tables mirror the row classes of `core/rows.py` column by column; a test holds that.
Each has one column more, `reflects_offset`: the journal offset whose state the row shows.
"""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlmodel import Field, SQLModel

from ladle.core import rows

# Byte order on both databases: what is sorted in SQL is sorted as the core sorts it.
TEXT: Any = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite's only integer is 64 bits wide, and STRICT tables know it by one name alone.
INT: Any = BigInteger().with_variant(Integer(), "sqlite")
BYTES: Any = LargeBinary()

# STRICT: a value of another type is refused and not converted, as on PostgreSQL.
_STRICT = {"sqlite_strict": True}


def _key(kind: Any) -> Any:
    # No sequence behind it: every number here is given by the program.
    return Field(primary_key=True, sa_type=kind, sa_column_kwargs={"autoincrement": False})


def _int() -> Any:
    return Field(sa_type=INT)


def _text() -> Any:
    return Field(sa_type=TEXT)


def _bytes() -> Any:
    return Field(sa_type=BYTES)


def _found_by(column: str) -> Index:
    """An index for `history`; records that name no such thing are not in it."""
    named = text(f"{column} IS NOT NULL")
    return Index(f"journal_{column}", column, "offset", sqlite_where=named, postgresql_where=named)


KEEPING = "kind IN ('snapshot', 'archived', 'loss-accepted')"
"""Records about how the journal itself is kept: few among many, and looked for by kind."""


def _kept() -> Index:
    kinds = text(KEEPING)
    return Index("journal_keeping", "kind", "offset", sqlite_where=kinds, postgresql_where=kinds)


class Base(SQLModel):
    """Metadata of our own: another library's SQLModel classes are no drift of ours."""

    metadata = MetaData()


class JournalRow(Base, table=True):
    """One record, as `core.record.Record`; `room_id` and `server_id` alone are not hashed."""

    __tablename__ = "journal"
    __table_args__ = (_found_by("room_id"), _found_by("server_id"), _kept(), _STRICT)

    offset: int = _key(INT)
    recorded_at_ms: int = _int()
    term: int = _int()
    kind: str = _text()
    schema_version: int = _int()
    body: bytes = _bytes()
    salt: bytes = _bytes()
    body_digest: str = _text()
    prev_hash: str = _text()
    hash: str = _text()
    room_id: str | None = _text()
    server_id: str | None = _text()


class LeaseRow(Base, table=True):
    """One row, id 1: who may append. Any change of it shows a standby that its holder lives."""

    __tablename__ = "lease"
    __table_args__ = _STRICT

    id: int = _key(INT)
    term: int = _int()
    holder: str = _text()  # empty: given up
    beats: int = _int()
    schema_version: int = _int()  # of the newest program that wrote here: the fence for older ones


class OutboxRow(Base, table=True):
    """One row, id 1: the last outbound message that the broker confirmed."""

    __tablename__ = "outbox"
    __table_args__ = _STRICT

    id: int = _key(INT)
    offset: int = _int()
    index: int = _int()


class SnapshotRow(Base, table=True):
    """A part of a snapshot: the view after record `offset`, compressed; parts count from 0."""

    __tablename__ = "snapshot"
    __table_args__ = _STRICT

    offset: int = _key(INT)
    part: int = _key(INT)
    content: bytes = _bytes()


class ViewRow(Base):
    """What all view tables share. One b-tree a table: rows are found by their key alone."""

    __table_args__: ClassVar[Any] = {**_STRICT, "sqlite_with_rowid": False}

    reflects_offset: int = _int()


class ServerRow(ViewRow, table=True):
    __tablename__ = "server"

    server_id: str = _key(TEXT)
    incarnation: int = _int()
    sequenced: int = _int()
    liveness: str = _text()
    administration: str = _text()
    operator_drain: int = _int()
    operator_drain_reason: str | None = _text()
    operator_drain_by_ms: int | None = _int()
    server_drain: int = _int()
    server_drain_reason: str | None = _text()
    server_drain_by_ms: int | None = _int()
    admin_sequence: int = _int()
    registered_sequence: int = _int()
    deregistered_sequence: int | None = _int()
    heard_at_ms: int = _int()
    silence_due_ms: int | None = _int()
    lost_at_ms: int | None = _int()
    forget_at_ms: int | None = _int()
    watermark: int = _int()
    received_above: str = _text()
    hole_since_ms: int | None = _int()
    report_due_ms: int | None = _int()
    report_tries: int = _int()
    lists_rooms: int = _int()
    complete_sequence: int = _int()
    region: str | None = _text()
    zone: str | None = _text()
    labels: str = _text()
    host: str = _text()
    port: int = _int()
    ws_url_template: str | None = _text()
    places_workers: int = _int()
    status_interval_ms: int = _int()
    liveness_mode: str = _text()
    contract_version: int = _int()
    external_id: str | None = _text()
    media_ip: str | None = _text()
    udp_port_min: int | None = _int()
    udp_port_max: int | None = _int()
    turn_ports: str = _text()
    description: str = _text()
    claimed_offset: int = _int()
    conflicting_with: str | None = _text()


class WorkerRow(ViewRow, table=True):
    __tablename__ = "worker"

    server_id: str = _key(TEXT)
    worker_id: str = _key(TEXT)
    state: str = _text()
    capacity: int = _int()
    observed: int = _int()
    producers: int = _int()
    rooms: int = _int()
    cpu_permille: int = _int()
    memory_bytes: int = _int()
    incarnation: int = _int()
    status_sequence: int = _int()
    status_offset: int = _int()
    lists_rooms: int = _int()


class RoomRow(ViewRow, table=True):
    __tablename__ = "room"

    room_id: str = _key(TEXT)
    phase: str = _text()
    generation: int = _int()
    allocation_id: str = _text()
    allocated_at_ms: int = _int()
    held_until_ms: int | None = _int()
    ends_at_ms: int | None = _int()
    stranded_at_ms: int | None = _int()
    peers: int = _int()
    publishers: int = _int()
    streams: int = _int()
    reserved: int = _int()
    wishes: str = _text()


class RouterRow(ViewRow, table=True):
    __tablename__ = "router"

    room_id: str = _key(TEXT)
    router: int = _key(INT)
    server_id: str = _text()
    worker_id: str | None = _text()
    active: int = _int()
    incarnation: int = _int()
    created_sequence: int = _int()
    named_allocation_id: str | None = _text()
    seen: int = _int()
    peers_seen: int = _int()
    cost: int = _int()
    reserved: int = _int()
    reserved_offset: int = _int()
    fade_step: int = _int()
    fade_at_ms: int | None = _int()


class StampRow(ViewRow, table=True):
    __tablename__ = "stamp"

    room_id: str = _key(TEXT)
    server_id: str = _key(TEXT)
    incarnation: int = _int()
    sequence: int = _int()
    generation: int = _int()
    expired_allocation_id: str | None = _text()
    released_allocation_id: str | None = _text()
    worker_id: str | None = _text()
    seen: int = _int()
    until_ms: int | None = _int()


class ClosingRow(ViewRow, table=True):
    __tablename__ = "closing"

    room_id: str = _key(TEXT)
    server_id: str = _key(TEXT)
    incarnation: int = _int()
    sequence: int = _int()
    allocation_id: str | None = _text()
    reason: str = _text()
    tries: int = _int()
    next_at_ms: int | None = _int()


class RequestRow(ViewRow, table=True):
    __tablename__ = "request"

    user: str = _key(TEXT)
    operation: str = _key(TEXT)
    request_id: str = _key(TEXT)
    digest: str = _text()
    offset: int = _int()
    expires_at_ms: int = _int()


class EventSeenRow(ViewRow, table=True):
    __tablename__ = "event_seen"

    event_id: str = _key(TEXT)
    expires_at_ms: int = _int()


class SettingRow(ViewRow, table=True):
    __tablename__ = "setting"

    name: str = _key(TEXT)
    value: str = _text()


class TimerRow(ViewRow, table=True):
    __tablename__ = "timer"

    kind: str = _key(TEXT)
    key: str = _key(TEXT)
    due_ms: int = _int()
    tries: int = _int()


metadata = Base.metadata
JOURNAL: Table = metadata.tables["journal"]
LEASE: Table = metadata.tables["lease"]
OUTBOX: Table = metadata.tables["outbox"]
SNAPSHOT: Table = metadata.tables["snapshot"]
VIEW: dict[str, Table] = {name: metadata.tables[name] for name in rows.TABLES}
"""The view's tables by name, in the order of a dump."""
