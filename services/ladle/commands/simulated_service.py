"""The real placement service for the simulation, which may not import it by itself."""

from collections.abc import Callable, Mapping
from typing import Any

from ladle.journal.store import Store
from ladle.placement.declaring import Declaring
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
) -> PlacementService:
    """One process of it. No variable of the environment is read: a seed says everything."""
    return PlacementService(
        PlacementSettings.model_construct(holder=holder, http=False, **settings),
        store=store,
        make_link=make_link,
        clock=clock,
        metrics=Metrics(),
        declaring=declaring,
        has_stream=False,
    )
