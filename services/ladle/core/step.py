"""One record on its way into the view: its time, and what is to be said once it is committed."""

from dataclasses import dataclass, field
from typing import Any

from ladle.core.view import View


class ImpossibleState(Exception):
    """The rules were asked what cannot happen; going on would invent a state of the view."""


@dataclass(slots=True)
class Step:
    """What every rule is given.

    offset, now_ms: of the record that is folded. outbound: own events and commands, in order.
    """

    view: View
    offset: int
    now_ms: int
    outbound: list[dict[str, Any]] = field(default_factory=list)
    allocations: int = 0

    def say(self, event: str, **data: Any) -> None:
        """One of Ladle's own events; what is None is left out."""
        self._add("event", event, data.get("server_id"), data)

    def tell(self, command: str, server_id: str, **data: Any) -> None:
        """A command to a media server; `incarnation` names the life that is meant."""
        self._add("command", command, server_id, data)

    def _add(self, what: str, kind: str, server_id: str | None, data: dict[str, Any]) -> None:
        said = {name: value for name, value in data.items() if value is not None}
        self.outbound.append({"what": what, "type": kind, "server_id": server_id, "data": said})

    def new_allocation_id(self) -> str:
        """From cell and offset, so that no id is used twice and a replay makes the same ones."""
        self.allocations += 1
        return f"{self.view.limits.cell}:{self.offset}:{self.allocations}"

    def pause_ms(self, tries: int) -> int:
        """How long to wait after the issue number `tries` (1 is the first) of a command."""
        limits = self.view.limits
        return min(limits.reissue_ms << min(tries - 1, 16), limits.reissue_ms_max)
