"""region-first: the first listed region in which anything fits, in it the emptiest worker.

For callers who list regions by distance: the nearest is taken while it has room, even where a
farther one is emptier. With no region listed it chooses as least-loaded does.
"""

from collections.abc import Iterator
from itertools import repeat

from ladle.core.field import Field
from ladle.core.index import Pick
from ladle.core.policies.base import Policy


def ranked(field: Field, seed: str) -> Iterator[tuple[Pick, dict[str, int]]]:
    """As least-loaded, within the one region that `field` holds."""
    return zip(field.emptiest(), repeat({}))


POLICY = Policy("region-first", 1, ranked, region_by_region=True)
