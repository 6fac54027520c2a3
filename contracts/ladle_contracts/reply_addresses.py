"""Addresses of RabbitMQ's direct reply-to, as the broker itself makes them.

`amq.rabbitmq.reply-to.`, the caller's channel as an Erlang process identifier in Base64, a dot, a
key in Base64. The identifier's node is `reply@` and a hash of the node's name. A broker decodes an
address when a reply is published to it; RabbitMQ 3.10 answers one that it cannot decode by closing
the connection of whoever answers (541, internal error), so nobody may publish to one unseen.
Source: RabbitMQ, deps/rabbit/src/rabbit_direct_reply_to.erl and pid_recomposition.erl.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from struct import Struct

PREFIX = "amq.rabbitmq.reply-to."

_KEY_BYTES_MAX = 64
"""RabbitMQ's keys have 16."""

_PROCESS = Struct(">III")  # number, serial, creation
_NEW_PID, _ATOM, _SMALL_ATOM = b"\x83\x58", b"\x76", b"\x77"
_NODE = re.compile(rb"reply@(?:0|[1-9][0-9]{0,9})")


def is_direct_reply(address: str) -> bool:
    """Does the address claim to be one of direct reply-to? Whether it is one, `reply_node` says."""
    return address.startswith(PREFIX)


def reply_node(address: str) -> str | None:
    """The node of the caller, as the broker wrote it: `reply@80154369`; None: no such address."""
    if not is_direct_reply(address):
        return None
    process, dot, key = address.removeprefix(PREFIX).partition(".")
    identifier, secret = _decoded(process), _decoded(key)
    if not dot or identifier is None or not secret or len(secret) > _KEY_BYTES_MAX:
        return None
    node = _node_of(identifier)
    return None if node is None or _NODE.fullmatch(node) is None else node.decode()


def direct_reply_address(node: str, process: int = 0, key: bytes = bytes(16)) -> str:
    """The address of a channel's process: what a broker that is none needs, and a probe of a real
    one. `node` as `reply_node` gives it; process 0 is nobody's."""
    name = node.encode()
    identifier = _NEW_PID + _ATOM + len(name).to_bytes(2, "big") + name
    identifier += _PROCESS.pack(process, 0, 0)
    return f"{PREFIX}{b64encode(identifier).decode()}.{b64encode(key).decode()}"


def _decoded(text: str) -> bytes | None:
    """Base64, written as everybody writes it; None for anything else."""
    try:
        decoded = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return decoded if b64encode(decoded).decode() == text else None


def _node_of(identifier: bytes) -> bytes | None:
    """The node's name in a process identifier of Erlang's external format; None: it is none."""
    kind, rest = identifier[2:3], identifier[3:]
    if identifier[:2] != _NEW_PID or kind not in (_ATOM, _SMALL_ATOM):
        return None
    size_bytes = 2 if kind == _ATOM else 1
    size = int.from_bytes(rest[:size_bytes], "big")
    name = rest[size_bytes : size_bytes + size]
    is_whole = len(rest) == size_bytes + size + _PROCESS.size
    return name if is_whole else None
