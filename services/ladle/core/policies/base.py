"""What a policy is: a name, a version, and an order among the servers that fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ladle.core.field import Field
from ladle.core.index import Pick


@dataclass(frozen=True, slots=True)
class Policy:
    """An order among workers; the first is chosen, the next are named in the decision.

    version: grows with every change that could choose otherwise: old decisions name the old one.
    ranked: the picks, best first, one for each server, each with the policy's own score parts; it
    is read no further than needed. `seed` differs with every request, for policies that draw.
    region_by_region: listed regions are tried in turn; else the best over all of them is taken.
    """

    name: str
    version: int
    ranked: Callable[[Field, str], Iterator[tuple[Pick, dict[str, int]]]]
    region_by_region: bool = False
