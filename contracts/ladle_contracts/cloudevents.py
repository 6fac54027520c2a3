"""CloudEvents 1.0 over AMQP: a message to attributes and data, in both content modes.

Structured mode: the body is the event (`application/cloudevents+json`). Binary mode: the body is
the data, the attributes are headers with the prefix `cloudEvents_`, `cloudEvents:` or `ce-`.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ladle_contracts import strict_json
from ladle_contracts.fields import EventId, Incarnation, Sequence, UserName, Wire
from ladle_contracts.link import Message
from ladle_contracts.times import of_datetime, to_ms
from ladle_contracts.violation import ContractViolation, Reason, violation_of

CONTENT_TYPE = "application/cloudevents+json"
SPEC_VERSION = "1.0"
PREFIXES = ("cloudEvents_", "cloudEvents:", "ce-")

BODY_BYTES_MAX = 256 * 1024
STATUS_BODY_BYTES_MAX = 4 * 1024 * 1024
"""A status lists every room of a server, some 100 bytes each."""

# Made once: json.dumps makes one for each call, at the price of the text itself.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_BIG_TYPES = "worker-status."
_NUMBERS = ("incarnation", "sequence")


class Attributes(Wire):
    """The context attributes that this contract reads; others are ignored."""

    specversion: Literal["1.0"]
    id: EventId
    source: Annotated[str, Field(strict=True, min_length=1, max_length=256)]
    type: Annotated[str, Field(strict=True, min_length=1, max_length=128)]
    time: Annotated[str, Field(strict=True, max_length=64)] | None = None
    incarnation: Incarnation | None = None
    sequence: Sequence | None = None
    onbehalfof: UserName | None = None


def read(message: Message) -> tuple[Attributes, int | None, Any]:
    """The event in `message`: its attributes, its time in Unix ms, its data still unchecked.

    Raises ContractViolation.
    """
    is_big = message.routing_key.startswith(_BIG_TYPES)
    size_max = STATUS_BODY_BYTES_MAX if is_big else BODY_BYTES_MAX
    raw, data = _split(message, size_max)
    for name in _NUMBERS:
        raw_number = raw.get(name)
        if isinstance(raw_number, str):
            raw[name] = _number(name, raw_number)
    try:
        attributes = Attributes.model_validate(raw)
    except ValidationError as error:
        raise violation_of(error, Reason.BAD_ENVELOPE) from None
    if (attributes.incarnation is None) != (attributes.sequence is None):
        raise ContractViolation(
            Reason.BAD_ENVELOPE,
            "sequence: incarnation and sequence must both stand there, or neither",
            "sequence",
        )
    return attributes, _time_ms(attributes.time), data


def write(attributes: Mapping[str, str | int | None], data: Any) -> bytes:
    """The structured form; attributes that are None are left out."""
    event: dict[str, Any] = {"specversion": SPEC_VERSION}
    event.update((name, value) for name, value in attributes.items() if value is not None)
    event["data"] = data
    return _ENCODER.encode(event).encode()


def is_json(content_type: str | None) -> bool:
    """May the body be read as JSON? Absent counts as yes; only UTF-8 is read."""
    if content_type is None or content_type == "application/json":
        return True
    media_type, is_utf8 = _media_type(content_type)
    return is_utf8 and (media_type == "application/json" or media_type.endswith("+json"))


def _media_type(content_type: str) -> tuple[str, bool]:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return media_type, charsets in ([], ["utf-8"])


def _split(message: Message, size_max: int) -> tuple[dict[str, Any], Any]:
    content_type = message.content_type
    if content_type == CONTENT_TYPE:
        return _structured(message.body, size_max)
    if content_type is not None:
        media_type, is_utf8 = _media_type(content_type)
        if media_type == CONTENT_TYPE and is_utf8:
            return _structured(message.body, size_max)
        if media_type.startswith("application/cloudevents"):
            raise ContractViolation(
                Reason.BAD_ENVELOPE,
                f"content_type: only {CONTENT_TYPE} in UTF-8 is read, one event a message",
                "content_type",
            )
    raw = _attributes_of(message.headers)
    if not raw:
        raise ContractViolation(
            Reason.BAD_ENVELOPE,
            f"content_type: must be {CONTENT_TYPE}, or headers must carry the attributes",
            "content_type",
        )
    if not is_json(content_type):
        raise ContractViolation(
            Reason.BAD_ENVELOPE, "content_type: the data must be JSON in UTF-8", "content_type"
        )
    return raw, strict_json.loads(message.body, size_max=size_max)


def _structured(body: bytes, size_max: int) -> tuple[dict[str, Any], Any]:
    event = strict_json.loads(body, size_max=size_max)
    if not isinstance(event, dict):
        raise ContractViolation(Reason.BAD_ENVELOPE, "the body must be a JSON object")
    if "data_base64" in event:
        raise ContractViolation(
            Reason.BAD_ENVELOPE, "data_base64: the data must be JSON, as `data`", "data_base64"
        )
    _check_data_type(event.get("datacontenttype"))
    return event, event.get("data")


def _check_data_type(data_type: object) -> None:
    if data_type is not None and not (isinstance(data_type, str) and is_json(data_type)):
        raise ContractViolation(
            Reason.BAD_ENVELOPE, "datacontenttype: must be application/json", "datacontenttype"
        )


def _attributes_of(headers: Mapping[str, object]) -> dict[str, Any]:
    """Attributes by name; one that stands under two prefixes must say the same twice."""
    raw: dict[str, Any] = {}
    for header, value in headers.items():
        for prefix in PREFIXES:
            if not header.startswith(prefix):
                continue
            name = header[len(prefix) :]
            if isinstance(value, datetime):
                value = _from_timestamp(name, value)
            if name in raw and raw[name] != value:
                raise ContractViolation(
                    Reason.BAD_ENVELOPE, f"{name}: two headers disagree about it", name
                )
            raw[name] = value
    return raw


def _from_timestamp(name: str, moment: datetime) -> str:
    """AMQP has a type for times; the event then reads as if it had come as text."""
    try:
        of_datetime(moment)
    except ValueError as error:
        raise ContractViolation(Reason.BAD_ENVELOPE, f"{name}: {error}", name) from None
    return moment.isoformat(timespec="milliseconds") + ("" if moment.tzinfo else "Z")


def _number(name: str, text: str) -> int:
    # Extension integers have 32 bits in CloudEvents, so that some libraries send long ones as text.
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise ContractViolation(Reason.BAD_ENVELOPE, f"{name}: must be an integer", name)
    return int(text)


def _time_ms(time: str | None) -> int | None:
    if time is None:
        return None
    try:
        return to_ms(time)
    except ValueError as error:
        raise ContractViolation(Reason.BAD_ENVELOPE, f"time: {error}", "time") from None
