"""Python's collector of cycles, which an audit hardly needs: records and rows have none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (50_000, 20, 100)
"""As the service has it. With the default a sixth of an audit goes into walking the view."""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """While a log is folded: what is there already is not looked at, what comes now and then."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
