"""Bytes to JSON objects, refusing what two readers could understand differently.

JSON leaves open what a repeated key, NaN, a lone surrogate or a NUL mean, and databases disagree
about the last two. Whatever gets past here can be stored, hashed and replayed anywhere.
"""

import json
from typing import Any, NoReturn

from pydantic_core import from_json, to_json

from ladle_contracts.violation import ContractViolation, Reason

DEPTH_MAX = 32
"""Nesting of objects and lists; the contract's own messages need six."""


def loads(body: bytes, *, size_max: int) -> Any:
    """The JSON value of `body` (UTF-8); raises ContractViolation with the reason."""
    if len(body) > size_max:
        raise ContractViolation(
            Reason.TOO_LARGE, f"the body has {len(body)} bytes, allowed are {size_max}"
        )
    try:
        value = from_json(body, allow_inf_nan=False)
        is_plain = _tokens(to_json(value)) == _tokens(body)
    except ValueError:
        is_plain = False
    if not is_plain:
        value = _read_with_care(body)
    # A scan of the bytes is a hundred times cheaper than a walk, and most bodies need no walk.
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _check_depth(value)
    if b"\\u" in body:
        _check_text(value)
    return value


def _tokens(text: bytes) -> bytes:
    """JSON without its spaces. Where those of a body are those of its value, nothing is hidden.

    A key that stands twice is lost in the value, and a number that is rounded reads otherwise
    there. Few bodies differ without harm (an escape, `1e3`): to them it is a longer way.
    """
    return text.translate(None, b" \t\n\r")


def _read_with_care(body: bytes) -> Any:
    """At twice the time: it finds keys that stand twice, and says where and what is wrong."""
    try:
        return _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise ContractViolation(
            Reason.NOT_JSON, f"the body is not UTF-8 at byte {error.start}"
        ) from None
    except json.JSONDecodeError as error:
        raise ContractViolation(
            Reason.NOT_JSON, f"the body is not JSON at character {error.pos}: {error.msg}"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        # int() refuses thousands of digits, in quadratic time were they allowed.
        raise ContractViolation(Reason.BAD_NUMBER, "a number has too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ContractViolation(Reason.DUPLICATE_KEY, "an object has the same key twice")
    return mapping


def _no_constant(name: str) -> NoReturn:
    raise ContractViolation(Reason.BAD_NUMBER, f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ContractViolation(Reason.BAD_NUMBER, "a number is too large")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)


def _too_deep() -> ContractViolation:
    return ContractViolation(
        Reason.TOO_DEEP, f"objects and lists are nested more than {DEPTH_MAX} deep"
    )


def _children(value: Any) -> Any:
    return value.values() if type(value) is dict else value


def _check_depth(value: Any) -> None:
    """Level by level, never by recursion: the body chooses the depth."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise _too_deep()
        level = [
            child
            for parent in level
            for child in _children(parent)
            if type(child) is dict or type(child) is list
        ]


def _check_text(value: Any) -> None:
    """Escapes may hide a NUL, which PostgreSQL refuses, or half a character, which UTF-8 does."""
    if isinstance(value, str):
        if "\0" in value:
            raise ContractViolation(Reason.BAD_TEXT, "a string holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ContractViolation(Reason.BAD_TEXT, "a string holds a lone surrogate") from None
    elif isinstance(value, dict):
        for key, child in value.items():
            _check_text(key)
            _check_text(child)
    elif isinstance(value, list):
        for child in value:
            _check_text(child)
