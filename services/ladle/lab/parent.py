"""A child process that ends when its parent is killed; Linux tells it by a signal."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # Loaded here: between fork and exec little may be done.


def dying_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: SIGKILL to the child when the thread that forked it ends.

    SIGKILL, as the parent got: what the child could say goodbye to vanishes with it, and a
    service that tries to stop in order would wait for it. The journal takes a kill at any moment.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It was killed before the line above.
            os._exit(1)

    return die_with_parent
