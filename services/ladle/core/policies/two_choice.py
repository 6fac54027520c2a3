"""two-choice: draw two servers that fit, take the better one.

As good as always taking the best where many choose at once from old reports, for nobody runs to
the same server. The draw comes from the request and its place in the journal, so a replay draws
the same two.
"""

from collections.abc import Iterator
from hashlib import sha256

from ladle.core.field import Field
from ladle.core.index import Pick
from ladle.core.policies.base import Policy


def drawn(seed: str, size: int) -> list[int]:
    """Two different ranks below `size`, or the only one, or none."""
    if size <= 1:
        return list(range(size))
    digest = sha256(seed.encode()).digest()
    first = int.from_bytes(digest[:16]) % size
    second = int.from_bytes(digest[16:]) % (size - 1)
    return [first, second + 1 if second >= first else second]


def ranked(field: Field, seed: str) -> Iterator[tuple[Pick, dict[str, int]]]:
    """The better of two ranks among the servers that fit, by (headroom, server_id)."""
    picks = []
    for rank in drawn(seed, field.size()):
        best_worker = field.workers(field.at_rank(rank))[0]
        picks.append((best_worker, {"rank": rank}))
    yield from sorted(picks, key=lambda scored: scored[0])


POLICY = Policy("two-choice", 1, ranked)
