"""Ladle's contract with the outside: models, envelope, topology, and the two thin ends of it.

Importing the package imports none of them; `from ladle_contracts import PlacementClient` loads what
it needs when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ladle_contracts.client import PlacementClient
    from ladle_contracts.envelope import ContractViolation
    from ladle_contracts.publisher import MediaServerPublisher
    from ladle_contracts.topology import Topology

_HOMES = {
    "ContractViolation": "envelope",
    "MediaServerPublisher": "publisher",
    "PlacementClient": "client",
    "Topology": "topology",
}

__all__ = ["ContractViolation", "MediaServerPublisher", "PlacementClient", "Topology"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
