"""A model's check of what was read, with the contract's own words for what is wrong."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ladle_contracts.violation import ContractViolation, Reason, violation_of

W = TypeVar("W", bound=BaseModel)


def validated(model: type[W], raw: object, *, prefix: str = "", server_id: str | None = None) -> W:
    """`raw` as a `model`; raises ContractViolation, whose field is led by `prefix`."""
    if not isinstance(raw, dict):
        field = prefix or None
        detail = f"{prefix}: must be a JSON object" if prefix else "the body must be a JSON object"
        raise ContractViolation(Reason.BAD_DATA, detail, field, server_id=server_id)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        violation = violation_of(error, Reason.BAD_DATA, prefix)
        violation.server_id = server_id
        raise violation from None
