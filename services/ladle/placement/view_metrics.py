"""The view as gauges, read when Prometheus asks and never kept."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ladle.core.damping import is_damped
from ladle.core.load import cost
from ladle.core.slow_start import SLOW_START
from ladle.core.view import View

ROOM_SIZES = (2, 4, 10, 16)
"""Peers of the rooms for which free places are counted: the sizes that operators plan with."""


class ViewCollector(Collector):
    """Servers by state, rooms, load by server, and how many rooms of a size still fit."""

    def __init__(self, view: Callable[[], View | None]) -> None:
        self._view = view

    def collect(self) -> Iterator[GaugeMetricFamily]:
        view = self._view()
        if view is None:
            return
        states = GaugeMetricFamily("ladle_servers", "Servers by state.", labels=["state"])
        counts = Counter(
            s.liveness if s.administration == "open" else s.administration
            for s in view.servers.values()
        )
        for state in ("up", "stale", "lost", "draining", "drained"):
            states.add_metric([state], counts.get(state, 0))
        yield states
        starting = sum(kind == SLOW_START for kind, _ in view.timers)
        yield GaugeMetricFamily("ladle_servers_starting", "Servers in slow start.", value=starting)
        damped = sum(is_damped(view, server_id) for server_id in view.servers)
        yield GaugeMetricFamily(
            "ladle_servers_damped", "Servers that flapped and get rooms last.", value=damped
        )
        yield GaugeMetricFamily("ladle_rooms", "Rooms with a home.", value=len(view.rooms))
        yield from self._loads(view)

    def _loads(self, view: View) -> Iterator[GaugeMetricFamily]:
        ratio = GaugeMetricFamily(
            "ladle_server_load_ratio", "Used / capacity, consumers.", labels=["server"]
        )
        free_rooms = GaugeMetricFamily(
            "ladle_free_rooms", "Rooms of so many peers that still fit.", labels=["peers"]
        )
        places = dict.fromkeys(ROOM_SIZES, 0)
        free_total = 0
        for server_id, server in sorted(view.servers.items()):
            used = capacity = 0
            for worker_id in view.workers_of.get(server_id, ()):
                worker = view.workers[server_id, worker_id]
                worker_used = view.loads.used(server_id, worker_id)
                used += worker_used
                capacity += worker.capacity
                if server.liveness == "up" and server.administration == "open":
                    free = max(0, worker.capacity - worker_used)
                    free_total += free
                    for peers in ROOM_SIZES:
                        places[peers] += free // cost(peers)
            ratio.add_metric([server_id], used / capacity if capacity else 0)
        for peers, count in places.items():
            free_rooms.add_metric([str(peers)], count)
        yield ratio
        yield GaugeMetricFamily(
            "ladle_free_consumers", "Headroom of all workers that take rooms.", value=free_total
        )
        yield free_rooms
