"""The JSON Schema (2020-12) of every message body, made from the models.

A message is named `<group>.<name>`: `event.room-created`, `request.allocate`, `reply.allocate`,
`reply.error`, `command.close-room`, `own-event.room-moved`. The same names are the file names of
schemas/ and examples/, and the message keys of asyncapi.yaml.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ladle_contracts.commands import COMMANDS
from ladle_contracts.events import EVENTS
from ladle_contracts.fields import ID, INT_MAX, PRINTABLE, SERVER_ID
from ladle_contracts.own_events import OWN_EVENTS
from ladle_contracts.requests import OPERATIONS, REPLIES, ErrorReply

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: its group, its name in it, and the model of its body or data."""

    group: str
    name: str
    model: type[BaseModel]

    @property
    def full_name(self) -> str:
        """As files and asyncapi.yaml name it, e.g. `event.room-created`."""
        return f"{self.group}.{self.name}"

    @property
    def is_cloudevent(self) -> bool:
        """Is the model the event's `data` rather than the whole body?"""
        return self.group in ("event", "command", "own-event")


def kinds() -> Iterator[Kind]:
    """Every kind of message, group by group, in the order of the contract."""
    groups: dict[str, dict[str, type[BaseModel]]] = {
        "event": dict(EVENTS),
        "request": dict(OPERATIONS),
        "reply": {**REPLIES, "error": ErrorReply},
        "command": dict(COMMANDS),
        "own-event": dict(OWN_EVENTS),
    }
    for group, models in groups.items():
        for name, model in models.items():
            yield Kind(group, name, model)


class _Schemas(GenerateJsonSchema):
    """pydantic's generator, saying some things that a reader in another language needs."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No: the titles of fields only repeat their names."""
        return False

    def default_schema(self, schema: Any) -> Schema:
        """Empty lists and maps are defaults too, though a factory makes them."""
        made: Schema = super().default_schema(schema)
        factory = schema.get("default_factory")
        if factory in (list, dict):
            made = {"default": factory(), **made}
        return made

    def dict_schema(self, schema: Any) -> Schema:
        """Keys of another form are refused, not merely free of the pattern's rule."""
        made: Schema = super().dict_schema(schema)
        for pattern in made.get("patternProperties", ()):
            made["propertyNames"] = {"pattern": pattern}
        return made


@cache
def definitions(ref_template: str) -> dict[str, Schema]:
    """The schema of every model by its name; `ref_template` says how one refers to another.

    Made once, for it takes 0.1 s: not to be changed by the caller.
    """
    models: dict[type[BaseModel], None] = {kind.model: None for kind in kinds()}
    _, generated = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=ref_template,
        schema_generator=_Schemas,
    )
    made: dict[str, Schema] = generated["$defs"]
    return {name: made[name] for name in sorted(made)}


def body_schema(kind: Kind, ref: str) -> Schema:
    """The schema of the whole body; `ref` points at the model's schema."""
    if not kind.is_cloudevent:
        return {"$ref": ref}
    source = (
        {"pattern": f"^/servers/{SERVER_ID}$"}
        if kind.group == "event"
        else {"pattern": f"^/ladle/{SERVER_ID}$"}
    )
    properties: Schema = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": f"^{PRINTABLE}$"},
        "source": {"type": "string"} | source,
        "type": {"const": kind.name},
        "subject": {"type": "string", "description": "the room or server that it is about"},
        "time": {"type": "string", "format": "date-time"},
    }
    if kind.group == "event":
        properties |= _life()
    properties["data"] = {"$ref": ref}
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": properties,
    }


def _life() -> Schema:
    number = {"type": "integer", "minimum": 1, "maximum": INT_MAX}
    return {
        "incarnation": number | {"description": "which life of the server: its start in Unix ms"},
        "sequence": number | {"description": "1, 2, 3, ... in the incarnation; both or neither"},
        "onbehalfof": {
            "type": "string",
            "pattern": f"^{ID}$",
            "description": "for proxies: whom they speak for",
        },
    }


def standalone(kind: Kind) -> Schema:
    """The schema of a body as a file of its own, with all that it refers to inside."""
    every = definitions("#/$defs/{model}")
    body = body_schema(kind, f"#/$defs/{kind.model.__name__}")
    return {
        "$schema": DIALECT,
        "title": kind.full_name,
        "description": kind.model.__doc__,
        **body,
        "$defs": {name: every[name] for name in sorted(reached(kind.model.__name__, every))},
    }


def reached(name: str, every: dict[str, Schema]) -> set[str]:
    """Which of `every` schema the one of that name needs, itself among them."""
    found, ahead = set[str](), [name]
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += [ref.rsplit("/", 1)[1] for ref in refs_of(every[one])]
    return found


def refs_of(schema: Any) -> Iterator[str]:
    """Every `$ref` in a schema or document."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value
            else:
                yield from refs_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from refs_of(value)
