"""Workloads by name: what `--workload` chooses from."""

from ladle.fleet.workloads.burst import Burst
from ladle.fleet.workloads.classes import Classes
from ladle.fleet.workloads.demand import Pace, RoomDemand, Visit, Workload, demand_of
from ladle.fleet.workloads.meetings import Meetings
from ladle.fleet.workloads.webinar import Webinar

WORKLOADS: dict[str, type[Meetings] | type[Classes] | type[Webinar] | type[Burst]] = {
    "meetings": Meetings,
    "classes": Classes,
    "webinar": Webinar,
    "burst": Burst,
}

__all__ = [
    "WORKLOADS",
    "Burst",
    "Classes",
    "Meetings",
    "Pace",
    "RoomDemand",
    "Visit",
    "Webinar",
    "Workload",
    "demand_of",
]
