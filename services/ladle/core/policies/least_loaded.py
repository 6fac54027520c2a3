"""least-loaded: the emptiest worker that fits. Spreads rooms, so that each has room to grow.

| workers (used of capacity, cpu) | cost | chosen |
| --- | --- | --- |
| 100 of 500, 100 of 500 at cpu 300 | 24 | the first: 200 permille, the other 300 |
| 100 of 500, 190 of 1000 | 24 | the second: 190 permille |
| 100 of 500, 200 of 1000 | 24 | the second: as full, and roomier |
| 490 of 500, 499 of 1000 at cpu 840 | 24 | the second: the first does not fit |
"""

from collections.abc import Iterator
from itertools import repeat

from ladle.core.field import Field
from ladle.core.index import Pick
from ladle.core.policies.base import Policy


def ranked(field: Field, seed: str) -> Iterator[tuple[Pick, dict[str, int]]]:
    """Lowest max(used / capacity, cpu) in permille; then the most headroom; then the ids."""
    return zip(field.emptiest(), repeat({}))


POLICY = Policy("least-loaded", 1, ranked)
