"""What JSON leaves open is refused before anything reads it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle_contracts.strict_json import DEPTH_MAX, loads
from ladle_contracts.violation import ContractViolation, Reason

SIZE_MAX = 100_000


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        (b"", Reason.NOT_JSON, "character 0"),
        (b"{", Reason.NOT_JSON, "character 1"),
        (b"{'a': 1}", Reason.NOT_JSON, "character 1"),
        (b'{"a": 1} x', Reason.NOT_JSON, "character 9"),
        (b'\xff{"a": 1}', Reason.NOT_JSON, "byte 0"),
        (b'{"a": "\xed\xa0\x80"}', Reason.NOT_JSON, "byte 7"),
        (b'{"a": "\x00"}', Reason.NOT_JSON, "control character"),
        (b'{"a": "x\\u0000"}', Reason.BAD_TEXT, "NUL"),
        (b'{"x\\u0000": 1}', Reason.BAD_TEXT, "NUL"),
        (b'[{"a": ["\\u0000"]}]', Reason.BAD_TEXT, "NUL"),
        (b'{"a": "\\ud800"}', Reason.BAD_TEXT, "surrogate"),
        (b'{"a": "\\uDFFFx"}', Reason.BAD_TEXT, "surrogate"),
        (b'{"a": NaN}', Reason.BAD_NUMBER, "NaN"),
        (b'{"a": Infinity}', Reason.BAD_NUMBER, "Infinity"),
        (b'{"a": -Infinity}', Reason.BAD_NUMBER, "-Infinity"),
        (b'{"a": 1e999}', Reason.BAD_NUMBER, "too large"),
        (b'{"a": -1e999}', Reason.BAD_NUMBER, "too large"),
        (b'{"a": ' + b"9" * 5_000 + b"}", Reason.BAD_NUMBER, "digits"),
        (b'{"a": 1, "a": 1}', Reason.DUPLICATE_KEY, "twice"),
        (b'{"b": [{"a": 1, "\\u0061": 2}]}', Reason.DUPLICATE_KEY, "twice"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), Reason.TOO_DEEP, "32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, Reason.TOO_DEEP, "32"),
        (b"[" * 50_000, Reason.TOO_DEEP, "32"),
        (b'"' + b"x" * SIZE_MAX + b'"', Reason.TOO_LARGE, "allowed are 100000"),
    ],
)
def test_refuses(body: bytes, reason: Reason, says: str) -> None:
    with pytest.raises(ContractViolation) as refused:
        loads(body, size_max=SIZE_MAX)
    assert refused.value.reason == reason
    assert says.lower() in refused.value.detail.lower()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
        b"[" + b"[]," * 100 + b"{}]",
        b'{"a": "\\u00e9 \\ud83d\\ude00", "b": ["\\\\u0000", 1.5, null]}',
        b'"' + b"x" * (SIZE_MAX - 2) + b'"',
    ],
)
def test_reads_what_is_unambiguous(body: bytes) -> None:
    assert loads(body, size_max=SIZE_MAX) == json.loads(body)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner)),
    st.booleans(),
)
def test_changes_nothing(value: object, escaped: bool) -> None:
    """Whatever is not refused is read as every other JSON reader reads it."""
    assert loads(json.dumps(value, ensure_ascii=escaped).encode(), size_max=10**7) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_reason(body: bytes) -> None:
    """No input ends in another exception: that would kill the consumer, not the message."""
    try:
        value = loads(body, size_max=1_000)
    except ContractViolation:
        return
    assert value == json.loads(body)


KEYS = st.sampled_from(["a", "b", "a b", "\u00e9", '"', "\\u0061"])
SPACES = st.sampled_from(["", " ", "\n", "\t \r"])


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bool]:
    """An object's text, spaced and escaped at will, and whether a key stands in it twice."""
    repeated = False

    def text_of(depth: int) -> str:
        nonlocal repeated
        if depth == 0 or draw(st.booleans()):
            return json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))
        keys = draw(st.lists(KEYS, max_size=3))
        repeated |= len(set(keys)) < len(keys)
        members = (
            f"{draw(SPACES)}{json.dumps(key, ensure_ascii=draw(st.booleans()))}{draw(SPACES)}:"
            f"{draw(SPACES)}{text_of(depth - 1)}{draw(SPACES)}"
            for key in keys
        )
        return "{" + ",".join(members) + "}"

    return text_of(3), repeated


@given(objects())
def test_a_key_that_stands_twice_is_found_however_it_is_written(drawn: tuple[str, bool]) -> None:
    """The quick reader sees the last of two members: what it reads must not be taken for all."""
    text, repeated = drawn
    if repeated:
        with pytest.raises(ContractViolation) as refused:
            loads(text.encode(), size_max=10**6)
        assert refused.value.reason == Reason.DUPLICATE_KEY
    else:
        assert loads(text.encode(), size_max=10**6) == json.loads(text)
