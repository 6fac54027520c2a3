"""The real programs for the simulation, which may not import them by itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from ladle.audit.errors import Altered, SourceError
from ladle.audit.source import Claim, Item, Rows
from ladle.audit.verify import verify
from ladle.chaos.simulated.laws import SECRET
from ladle.chaos.simulated.service import Audited, Programs
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.snapshots import Anchor
from ladle.journal.store import Snapshot, Store
from ladle.placement.declaring import Declaring
from ladle.placement.loss import OpenLog
from ladle.placement.metrics import Metrics
from ladle.placement.service import PlacementService
from ladle.placement.settings import PlacementSettings
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link


def make_service(
    settings: Mapping[str, Any],
    *,
    holder: str,
    store: Store,
    make_link: Callable[[], Link],
    clock: Clock,
    declaring: Declaring,
    open_log: OpenLog,
    accept_loss: bool,
    rules: int,
) -> PlacementService:
    """One process of it. No variable of the environment is read: a seed says everything."""
    made = PlacementSettings.model_construct(
        amqp_url=SecretStr(f"amqp://ladle:{SECRET}@broker/"),
        database_url=SecretStr(f"postgresql://ladle:{SECRET}@database/ladle"),
        holder=holder,
        http=False,
        **settings,
    )
    return PlacementService(
        made,
        store=store,
        make_link=make_link,
        clock=clock,
        metrics=Metrics(),
        declaring=declaring,
        open_log=open_log,
        accept_loss=accept_loss,
        rules=rules,
    )


class Stored:
    """The simulated database as a source to audit: nothing of it is archived or kept aside."""

    name = "the simulated database"

    def __init__(self, records: Sequence[Record], state: Snapshot) -> None:
        self._records = records
        self._state = state

    def claim(self) -> Claim:
        return Claim(head=self._state.head)

    def rows(self) -> Rows:
        return Rows(self._state, self._state.head.offset)

    def pages(self, after_offset: int = 0) -> Iterator[list[Item]]:
        yield list(self._records[after_offset:])

    def snapshots(self) -> list[Anchor]:
        return []

    def hold(self, anchor: Anchor) -> None:
        raise Altered(f"no snapshot of record {anchor.offset} is kept", "keep one")

    def view_of(self, anchor: Anchor) -> View:
        raise Altered(f"no snapshot of record {anchor.offset} is kept", "keep one")

    def share_read(self, offset: int) -> float:
        return offset / max(1, len(self._records))

    def close(self) -> None:
        """Nothing is held."""


def audit(records: Sequence[Record], state: Snapshot) -> Audited:
    """`ladle audit verify` of a simulated database."""
    try:
        report = verify(Stored(records, state))
    except SourceError as error:
        return Audited(error.exit_code, None, str(error))
    first = report.findings.first
    said = str(first) if first is not None else "; ".join((*report.missing, *report.unchecked))
    return Audited(report.exit_code, first.offset if first is not None else None, said)


PROGRAMS = Programs(make_service, audit)
