"""The settings that the rules read, with their defaults; a `settings` record overrides them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ladle_contracts.fields import HOLD_MS_MAX

RULES = 3
"""The newest edition of the rules, which a writer journals. What the editions changed:

2: all who are silent are silent together, whenever each was heard last (docs/adr/0052).
3: a released room that its home lists under that allocation is to be closed, whenever it was
   created (docs/adr/0053).
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """All times in ms, loads in permille or consumers. Each may be a row of the table `setting`.

    A default stays what it is for good: journals in which no record sets the limit go by it. What
    is new is off here, and on in the service's settings, which the journal then holds.
    """

    rules: int = 1  # the edition of the rules by which the journal goes on
    cell: str = "default"  # begins the allocation ids, so that two cells never share one
    policy: str = "least-loaded"
    hold_ms: int = 30_000  # how long an answered caller has to come, unless it says
    hold_ms_max: int = HOLD_MS_MAX  # what a caller may ask for
    settle_ms: int = 120_000  # in which a reservation fades towards what is seen
    slow_start_ms: int = 0  # in which a server that is new or back gets its whole share; 0: at once
    flap_ms: int = 0  # what one flap of a server costs: forgiven after so long; 0: no damping
    flap_limit: int = 2  # so many are free; with more a server gets rooms last
    damped_ms_max: int = 1_800_000  # after its last flap
    stale_intervals: int = 3  # silent for so many status intervals: nothing new there
    lost_intervals: int = 12  # silent for so many: its active rooms are stranded
    bus_out_ms: int = 600_000  # how long a mass silence is the bus's fault while others speak
    strand_ms: int = 600_000  # a stranded room that nobody asks for ends
    stamp_ms: int = 600_000  # how long a life is remembered after its end
    forget_ms: int = 86_400_000  # a lost server without rooms is forgotten
    room_age_ms_max: int = 43_200_000  # of rooms on servers that send no complete status
    request_ms: int = 600_000  # the replay window of a request id
    event_id_ms: int = 3_600_000  # how long ids de-duplicate events without a sequence
    hole_ms: int = 2_000  # a hole in a server's sequence this old asks for a complete status
    reissue_ms: int = 2_000  # first pause between two issues of one command; doubles
    reissue_ms_max: int = 60_000
    cpu_permille_max: int = 850  # a worker at or above takes nothing new
    capacity_low_consumers: int = 180  # no worker has so much left (10 peers): capacity-low
    capacity_ok_consumers: int = 480  # and one must have so much (16 peers) before it is said again
    owner_only: bool = False  # who allocated a room moves, extends and releases it, nobody else
    operators: str = ""  # users, separated by commas, who may do that with any room


NAMES = frozenset(field.name for field in fields(Limits))


def overridden(values: Mapping[str, Any]) -> Limits:
    """The defaults, replaced by those of `values` that name a limit."""
    return replace(Limits(), **{name: value for name, value in values.items() if name in NAMES})
