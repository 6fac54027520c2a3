"""What is wrong with a message, as a value that a dead letter or an answer can carry."""

from enum import StrEnum

from pydantic_core import ErrorDetails, ValidationError


class Reason(StrEnum):
    """Why a message was refused at the envelope. Values stand on dead letters: keep them."""

    NOT_JSON = "not-json"
    TOO_LARGE = "too-large"
    TOO_DEEP = "too-deep"
    BAD_TEXT = "bad-text"
    BAD_NUMBER = "bad-number"
    DUPLICATE_KEY = "duplicate-key"
    BAD_ENVELOPE = "bad-envelope"
    BAD_ID = "bad-id"
    BAD_DATA = "bad-data"
    SOURCE_MISMATCH = "source-mismatch"
    UNKNOWN_TYPE = "unknown-type"
    UNKNOWN_OPERATION = "unknown-operation"


class ContractViolation(Exception):
    """A message breaks the contract; nothing of it may be acted on.

    reason: a stable code. detail: a sentence that names the field; it never quotes the message,
    which may be huge or hold what must not be logged. field: dotted path (`workers.0.state`).
    server_id: who the envelope says it is from, where the envelope itself was sound.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        field: str | None = None,
        *,
        server_id: str | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field
        self.server_id = server_id


_SENTENCES = {
    "missing": "is missing",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "string_type": "must be a string",
    "string_unicode": "must be a string without lone surrogates",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be >= {ge}",
    "less_than_equal": "must be <= {le}",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "value_error": "{error}",
}
"""pydantic's error types in this contract's words; other types keep pydantic's message."""

_IDS_GO_WRONG_BY = {"string_pattern_mismatch", "string_too_long", "string_too_short"}


def violation_of(error: ValidationError, reason: Reason, prefix: str = "") -> ContractViolation:
    """The first thing that a model refused, as a sentence: `peers: must be >= 1`.

    An id of the wrong form is `bad-id` whatever `reason` says. `prefix` leads the field's path.
    """
    errors = error.errors(include_url=False, include_input=False)
    first = errors[0]
    path = [_shown(step) for step in first["loc"]]
    if prefix:
        path.insert(0, prefix)
    if first["type"] in _IDS_GO_WRONG_BY and path and _names_an_id(path[-1]):
        reason = Reason.BAD_ID
    field = ".".join(path)
    sentence = _sentence(first)
    detail = f"{field}: {sentence}" if field else sentence
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return ContractViolation(reason, detail, field or None)


def _shown(step: str | int) -> str:
    """A key of the caller's own (a label's) may be anything; it goes into logs and headers."""
    return ascii(step)[1:-1][:64] if isinstance(step, str) else str(step)


def _names_an_id(field: str) -> bool:
    return field == "id" or field.endswith("_id")


def _sentence(error: ErrorDetails) -> str:
    template = _SENTENCES.get(error["type"])
    if template is None:
        return error["msg"]
    return template.format(**error.get("ctx", {}))
