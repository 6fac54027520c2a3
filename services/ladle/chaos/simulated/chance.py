"""All randomness of one simulation comes from its seed, each purpose with a stream of its own.

A stream of its own: leaving one kind of fault out changes nothing of what the others draw, which
is what lets a failing run be made smaller.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random


class Chance:
    """The streams of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, purpose: str) -> Random:
        """Always the same numbers for the same seed and purpose."""
        return Random(f"{self.seed}/{purpose}")


@contextmanager
def seeded_kernel(chance: Chance) -> Iterator[None]:
    """Inside, `os.urandom` (salts, uuid4) gives bytes of the seed: the real code asks it, as ever.

    For this whole Python process; simulations side by side run in processes of their own.
    """
    real: Callable[[int], bytes] = os.urandom
    os.urandom = chance.stream("kernel").randbytes
    try:
        yield
    finally:
        os.urandom = real
