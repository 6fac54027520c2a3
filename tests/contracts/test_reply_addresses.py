"""Which addresses of direct reply-to a broker can have made; another closes who answers it."""

from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladle_contracts.reply_addresses import (
    PREFIX,
    direct_reply_address,
    is_direct_reply,
    reply_node,
)

SEEN = PREFIX + "g1h2AA5yZXBseUA4MDE1NDM2OQAAArAAAAAAawtQbQ==.o+uYPvXBm5jGyPZA/jF82Q=="
"""Of RabbitMQ 3.10.8."""


def address(identifier: bytes, key: bytes = b"k" * 16) -> str:
    return f"{PREFIX}{b64encode(identifier).decode()}.{b64encode(key).decode()}"


def identifier(node: bytes, rest: bytes = bytes(12)) -> bytes:
    return b"\x83\x58\x76" + len(node).to_bytes(2, "big") + node + rest


def test_an_address_of_a_broker_names_its_node() -> None:
    assert reply_node(SEEN) == "reply@80154369"


def test_a_short_atom_is_read_too() -> None:
    node = b"reply@7"
    assert reply_node(address(b"\x83\x58\x77" + bytes([len(node)]) + node + bytes(12))) == "reply@7"


@pytest.mark.parametrize(
    "bogus",
    {
        "no process": PREFIX,
        "one word": f"{PREFIX}bogus",
        "two words": f"{PREFIX}bogus.a",
        "no key": SEEN.rpartition(".")[0],
        "an empty key": SEEN.rpartition(".")[0] + ".",
        "a third word": f"{SEEN}.a",
        "no Base64": f"{PREFIX}%%%%.%%%%",
        "another alphabet": SEEN.replace("+", "-").replace("/", "_"),
        "no padding": SEEN.replace("=", ""),
        "bits in the padding": SEEN.replace("Q==.", "R==."),
        "not ASCII": f"{SEEN}\u00e9",
        "a node of another name": address(identifier(b"rabbit@7")),
        "a node without a number": address(identifier(b"reply@")),
        "a signed number": address(identifier(b"reply@+7")),
        "a number with a zero before it": address(identifier(b"reply@07")),
        "a number that is too long": address(identifier(b"reply@12345678901")),
        "a process that is cut off": address(identifier(b"reply@7", bytes(11))),
        "a process and more": address(identifier(b"reply@7", bytes(13))),
        "another term": address(b"\x83\x68\x02\x61\x01\x61\x02"),
        "an atom of another kind": address(
            identifier(b"reply@7").replace(b"\x58\x76", b"\x58\x64")
        ),
        "an old process": address(identifier(b"reply@7").replace(b"\x83\x58", b"\x83\x67")),
        "a long key": address(identifier(b"reply@7"), b"k" * 65),
        "a queue": "reply.backend-1",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_no_broker_makes_is_no_address(bogus: tuple[str, str]) -> None:
    assert reply_node(bogus[1]) is None


@given(st.text() | st.binary().map(address) | st.binary().map(lambda b: address(identifier(b))))
@example(SEEN)
def test_what_is_taken_is_exactly_what_a_broker_writes(text: str) -> None:
    """Whatever passes is decoded by RabbitMQ: five fixed bytes, a node by number, 12 bytes."""
    for candidate in (text, PREFIX + text):
        node = reply_node(candidate)
        if node is not None:
            assert is_direct_reply(candidate)
            assert node.removeprefix("reply@").isdigit()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**27), st.binary(min_size=1, max_size=64))
def test_an_address_made_here_is_read_back(process: int, number: int, key: bytes) -> None:
    assert reply_node(direct_reply_address(f"reply@{number}", process, key)) == f"reply@{number}"
