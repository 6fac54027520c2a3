"""What a policy chooses from: some regions, without the servers to avoid, for one cost."""

from collections.abc import Iterator
from heapq import merge
from typing import TypeVar

from ladle.core.index import CPU, Index, Pick, Region

Line = TypeVar("Line", Pick, tuple[int, str])
Rung = tuple[int, str]
"""headroom of a server's roomiest worker, server_id: the order in which servers have ranks."""


class Field:
    """The servers of `regions` that have `cost` consumers of headroom and are not avoided."""

    def __init__(
        self, index: Index, regions: list[Region], cost: int, avoid: frozenset[str] = frozenset()
    ) -> None:
        self._index = index
        self._regions = regions
        self._avoid = avoid
        self.cost = cost

    def emptiest(self) -> Iterator[Pick]:
        """The best worker that fits of each server, best first."""
        # Each server stands in one region.
        return _merged([region.emptiest(self.cost, self._avoid) for region in self._regions])

    def tightest(self) -> Iterator[Rung]:
        """Servers, the least headroom that fits first."""
        for rung in _merged([_from(region, self.cost) for region in self._regions]):
            if rung[1] not in self._avoid:
                yield rung

    def workers(self, server_id: str) -> list[Pick]:
        """All workers of a server that fit, best first."""
        standing = self._index.standings[server_id]
        return [pick for pick in standing.workers if pick.headroom >= self.cost]

    def size(self) -> int:
        """How many servers there are to choose from."""
        fitting = 0
        for region in self._regions:
            fitting += len(region.roomiest) - region.fitting_from(self.cost)
        return fitting - len(self._avoided_rungs())

    def at_rank(self, rank: int) -> str:
        """The server at `rank` (0 is the first) by (headroom, server_id); O(regions x log n)."""
        # Ranks are of all that fit; step over those to avoid, of which there are a few.
        for avoided in self._avoided_rungs():
            if self._rank(avoided) <= rank:
                rank += 1
        # Narrow a window in each region around the rung that has this rank, as a binary search
        # does in one list: the middle of the widest window says for all which side to keep.
        lows = [region.fitting_from(self.cost) for region in self._regions]
        highs = [len(region.roomiest) for region in self._regions]
        while True:
            widths = [high - low for low, high in zip(lows, highs, strict=True)]
            widest = widths.index(max(widths))
            middle: Rung = self._regions[widest].roomiest[(lows[widest] + highs[widest]) // 2]
            at = self._rank(middle)
            if at == rank:
                return middle[1]
            for i, region in enumerate(self._regions):
                if at < rank:
                    lows[i] = max(lows[i], region.roomiest.bisect_right(middle))
                else:
                    highs[i] = min(highs[i], region.roomiest.bisect_left(middle))

    def most_headroom(self) -> int | None:
        """Of the roomiest worker that is not avoided, whether it fits or not; None: no worker."""
        most: int | None = None
        for region in self._regions:
            for headroom, server_id in reversed(region.roomiest):
                if server_id not in self._avoid:
                    most = headroom if most is None else max(most, headroom)
                    break
        return most

    def _rank(self, rung: Rung) -> int:
        """How many rungs that fit come before this one."""
        return sum(
            region.roomiest.bisect_left(rung) - region.fitting_from(self.cost)
            for region in self._regions
        )

    def avoided_servers(self) -> list[str]:
        """The servers of these regions that are up and open, and avoided; ascending."""
        return [server_id for server_id in sorted(self._avoid) if self._serves(server_id)]

    def _serves(self, server_id: str) -> bool:
        standing = self._index.standings.get(server_id)
        if standing is None or standing.out not in (None, CPU):
            return False
        here = (standing.largest, server_id)
        return any(here in region.largest for region in self._regions)

    def _avoided_rungs(self) -> list[Rung]:
        """The rungs that would fit here and are avoided, ascending."""
        if not self._avoid:
            return []
        standings = ((self._index.standings[name], name) for name in self.avoided_servers())
        return sorted(
            (standing.roomiest, name)
            for standing, name in standings
            if standing.out is None and standing.roomiest >= self.cost
        )


def _merged(ascending: list[Iterator[Line]]) -> Iterator[Line]:
    """All of them, ascending. Mostly there is one region, and a merge of one costs as much."""
    return ascending[0] if len(ascending) == 1 else merge(*ascending)


def _from(region: Region, cost: int) -> Iterator[Rung]:
    return region.roomiest.islice(region.fitting_from(cost))  # type: ignore[no-any-return]
