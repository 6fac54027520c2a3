"""The kinds of values in the contract: ids, numbers, times, texts, each with its bounds.

Every bound is checked by pydantic's compiled validators (patterns, ge, le), because decoding stands
on the hot path. Numbers are integers of at most 53 bits, so that JavaScript reads them exactly and
their canonical JSON is the same in every language.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

INT_MAX = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

SERVER_ID = r"[a-z0-9-]{1,63}"
ID = r"[A-Za-z0-9._:~-]{1,128}"
PRINTABLE = r"[!-~]{1,128}"
NAME = r"[A-Za-z0-9._-]{1,63}"
LABEL_KEY = r"[A-Za-z0-9._/-]{1,63}"
HOST = r"[A-Za-z0-9._:\[\]-]{1,253}"
IP = r"[0-9A-Fa-f.:]{2,45}"
NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
RFC3339_UTC = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$"

METADATA_BYTES_MAX = 2048
HOLD_MS_MAX = 600_000
"""The longest that an answered caller's room is kept for it without another word: ten minutes."""


class Wire(BaseModel):
    """Base of all that crosses the wire: frozen; unknown fields are ignored, for newer peers."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


def _id(pattern: str, description: str) -> Any:
    return Field(strict=True, pattern=f"^{pattern}$", description=description)


ServerId = Annotated[str, _id(SERVER_ID, "a media server; part of routing keys and queue names")]
RoomId = Annotated[str, _id(ID, "a room, as its callers name it")]
WorkerId = Annotated[str, _id(ID, "a mediasoup-worker, unique on its server")]
AllocationId = Annotated[str, _id(ID, "a binding of a room to a home; never used twice")]
RequestId = Annotated[str, _id(ID, "the caller's id of a request; a retry repeats it")]
EventId = Annotated[str, _id(PRINTABLE, "unique for its source; printable ASCII without spaces")]
UserName = Annotated[str, _id(ID, "a broker user or a gateway's key")]
CellName = Annotated[str, _id(SERVER_ID, "an independent unit with its own queues and writer")]
Region = Annotated[str, _id(NAME, "a region or zone, e.g. `eu-west`")]
Host = Annotated[str, _id(HOST, "a host name or IP address")]
IpAddress = Annotated[str, _id(IP, "an IPv4 or IPv6 address")]

Text = Annotated[
    str,
    Field(strict=True, max_length=512, pattern=NO_CONTROL, description="for people; one line"),
]
Url = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=1024, pattern=NO_CONTROL, description="a URL"),
]

Flag = Annotated[bool, Field(strict=True)]


def _int(least: int, most: int, description: str) -> Any:
    return Field(strict=True, ge=least, le=most, description=description)


Int = Annotated[int, _int(-INT_MAX, INT_MAX, "an integer of 53 bits, as JavaScript keeps it")]
Count = Annotated[int, _int(0, INT_MAX, "a count")]
UnixMs = Annotated[int, _int(0, INT_MAX, "Unix time in milliseconds, UTC")]
DurationMs = Annotated[int, _int(0, INT_MAX, "a duration in milliseconds")]
Offset = Annotated[int, _int(0, INT_MAX, "a journal offset; 0 is before the first record")]
Generation = Annotated[int, _int(1, INT_MAX, "which home of the room this is, counted from 1")]
Incarnation = Annotated[int, _int(1, INT_MAX, "which life of a server: its start in Unix ms")]
Sequence = Annotated[int, _int(1, INT_MAX, "1, 2, 3, ... within an incarnation")]
# Of servers that never said theirs, Ladle counts its own, from 0.
KnownIncarnation = Annotated[int, _int(0, INT_MAX, "an incarnation as Ladle knows it")]
KnownSequence = Annotated[int, _int(0, INT_MAX, "a sequence as Ladle knows it")]
Port = Annotated[int, _int(1, 65_535, "a TCP or UDP port")]

PEERS_MAX = 100_000
Peers = Annotated[
    int, _int(1, PEERS_MAX, "participants; far above any real room, so that costs stay exact")
]
PeersSeen = Annotated[int, _int(0, PEERS_MAX, "participants now")]
Publishers = Annotated[int, _int(0, PEERS_MAX, "participants who send; at most `peers`")]
Streams = Annotated[int, _int(0, 64, "streams that a publisher sends: audio, camera, screen, ...")]
Consumers = Annotated[int, _int(0, 10_000_000, "streams sent to peers; a worker carries about 500")]
Capacity = Annotated[int, _int(1, 10_000_000, "consumers that a worker can carry")]
Permille = Annotated[int, _int(0, 1000, "thousandths; 1000 is all of it")]
CpuPermille = Annotated[int, _int(0, 1000, "share of one core in thousandths; 1000 is all of it")]
Bytes = Annotated[int, _int(0, INT_MAX, "bytes")]
TtlMs = Annotated[int, _int(100, HOLD_MS_MAX, "how long capacity is held in ms")]
StatusIntervalMs = Annotated[
    int, _int(100, 3_600_000, "time between two statuses in ms; silence is measured in these")
]
PageLimit = Annotated[int, _int(1, 1000, "entries in a page; a page stays below 1 MB")]

Rfc3339 = Annotated[
    str, Field(strict=True, pattern=RFC3339_UTC, description="RFC 3339 time, UTC, ending in Z")
]

LabelKey = Annotated[str, _id(LABEL_KEY, "ASCII, so that canonical JSON sorts it one way")]
LabelValue = Annotated[str, Field(strict=True, max_length=253, pattern=NO_CONTROL)]
Labels = Annotated[
    dict[LabelKey, LabelValue],
    Field(max_length=64, description="what a server has or a room needs"),
]


def _scalar(value: object) -> object:
    """One sentence for all, where a union would list what each of its members refused."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and -INT_MAX <= value <= INT_MAX:
        return value
    raise ValueError("must be a string, an integer of 53 bits, true, false or null")


MetadataValue = Annotated[
    Annotated[str, Field(strict=True)] | Flag | Int | None, BeforeValidator(_scalar)
]


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(to_json(metadata)) > METADATA_BYTES_MAX:
        raise ValueError(f"must be at most {METADATA_BYTES_MAX} bytes of JSON")
    return metadata


Metadata = Annotated[
    dict[LabelKey, MetadataValue],
    AfterValidator(_small),
    Field(
        description=f"the caller's own, {METADATA_BYTES_MAX} bytes of JSON; never used for placing"
    ),
]
