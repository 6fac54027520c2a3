"""From a recorded answer to the reply on the wire, and who may be answered at all."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from ladle_contracts.link import Message, Outgoing
from ladle_contracts.requests import OPERATIONS
from ladle_contracts.times import to_rfc3339
from ladle_contracts.topology import is_reply_address


@lru_cache(maxsize=4096)
def may_answer(reply_to: str | None) -> bool:
    """Is this address on the allow-list? None and the empty string are not.

    Remembered: a caller has one address for all its requests, and each is asked about twice.
    """
    return reply_to is not None and is_reply_address(reply_to)


def wire_reply(answer: Mapping[str, Any], *, term: int, offset: int | None) -> bytes:
    """The reply's bytes: `answer` as recorded, with the term and offset that order it.

    offset None: no record stands behind it, so that the same request id may ask again.
    `held_until_ms` becomes `held_until`, RFC 3339, in a page of rooms too.
    """
    reply = dict(answer)
    if offset is not None:
        reply.update(term=term, journal_offset=offset)
    _say_held_until(reply)
    if "rooms" in reply and isinstance(reply["rooms"], list):
        reply["rooms"] = [_say_held_until(dict(room)) for room in reply["rooms"]]
    if reply.get("status") == "ok" and "routers" in reply:
        # Credentials are made when a reply is sent and never journaled; there are none yet.
        reply.setdefault("ice_servers", [])
    return orjson.dumps(reply)


def _say_held_until(reply: dict[str, Any]) -> dict[str, Any]:
    held_until_ms = reply.pop("held_until_ms", None)
    if held_until_ms is not None:
        reply["held_until"] = to_rfc3339(held_until_ms)
    return reply


def reply_to(request: Message, body: bytes) -> Outgoing:
    """The answer to `request`, unconfirmed and not mandatory: a caller who left is no error."""
    return Outgoing(
        exchange="",
        routing_key=request.reply_to or "",
        body=body,
        correlation_id=request.correlation_id,
        type="reply",
    )


def operation_label(message: Message) -> str:
    """A metric label that callers cannot grow: the operation if there is one of that name."""
    return message.routing_key if message.routing_key in OPERATIONS else "unknown"


def error_answer(
    code: str,
    message: str,
    *,
    retryable: bool = False,
    retry_after_ms: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An error as the core records it; `details` holds integers and strings only."""
    error: dict[str, Any] = {"code": code, "message": message, "retryable": retryable}
    if retry_after_ms is not None:
        error["retry_after_ms"] = retry_after_ms
    if details:
        error["details"] = dict(details)
    return {"status": "error", "error": error}
