"""One process at a time writes to an archive: the folder itself is locked, as long as it runs.

The journal's lease cannot stand for it: it is taken for the moment of the record alone, and files
are written before and removed after. The kernel lets go of the lock when a process dies, so nothing
is left in the folder that somebody would have to remove. It holds among one machine's processes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ladle.audit.errors import BadSource, Incomplete, InUse


@contextmanager
def held(folder: Path, *, make: bool = False) -> Iterator[None]:
    """Hold the folder from before its manifest is read until its last file is removed.

    make: it may be a new one, which goes again where nothing was put into it. Raises SourceError
    (InUse: another process holds it; nothing is changed), OSError.
    """
    made = make and not folder.exists()
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    handle = _opened(folder)
    try:
        _lock(folder, handle)
        try:
            yield
        finally:
            if made:
                with suppress(OSError):
                    folder.rmdir()
    finally:
        os.close(handle)


def _opened(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError as error:
        advice = "give the folder that `ladle db archive` wrote to"
        raise Incomplete(f"there is no folder {folder}", advice) from error
    except NotADirectoryError as error:
        raise BadSource(f"{folder} is no folder", "name a folder for the archive") from error


def _lock(folder: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who made it and put nothing into it has removed it meanwhile: that lock holds nothing.
        same = folder.exists() and os.path.samestat(os.fstat(handle), folder.stat())
    except BlockingIOError:
        same = False
    if not same:
        said = f"another archiving or erasing works on {folder}"
        raise InUse(said, "run it again when that has ended")
