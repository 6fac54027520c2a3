"""pack: fill what is nearly full, so that other servers run empty and can be stopped.

| servers (headroom of their workers) | cost | chosen |
| --- | --- | --- |
| a: 30, 200; b: 100, 50 | 24 | b, its worker with 50: 100 is less than 200 |
| a: 30, 200; b: 100, 20 | 24 | b, its worker with 100: 20 does not fit |
| a: 24; b: 500 | 24 | a: an exact fit is a fit |
"""

from collections.abc import Iterator

from ladle.core.field import Field
from ladle.core.index import Pick
from ladle.core.policies.base import Policy


def ranked(field: Field, seed: str) -> Iterator[tuple[Pick, dict[str, int]]]:
    """The server whose roomiest worker has the least headroom that fits; in it the fullest."""
    for server_headroom, server_id in field.tightest():
        # The fullest that fits is the one with the least headroom; of equals the fuller one.
        pick = min(field.workers(server_id), key=_fullest_first)
        yield pick, {"server_headroom": server_headroom}


def _fullest_first(pick: Pick) -> tuple[int, int, str]:
    return (pick.headroom, -pick.permille, pick.worker_id)


POLICY = Policy("pack", 1, ranked)
