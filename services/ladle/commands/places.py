"""Folders and files that an option or a setting names: what is wrong with one, in a sentence."""

import os
from pathlib import Path

from ladle.commands.output import USAGE, fail

PLACE_ADVICE = "name a place where this user may make files"
KERNELS = (Path("/proc"), Path("/sys"))
"""Folders of the kernel, which say that they may be written to, and hold no file of anybody's."""


def make_folder(option: str, folder: Path) -> Path:
    """The folder, made where it is not there; leaves with 2, naming the option, where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = trouble_with(folder / "x") or f"{folder}: {error.strerror or error}"
        fail(USAGE, f"{option}: {said}", PLACE_ADVICE)
    if not os.access(folder, os.W_OK | os.X_OK):
        fail(USAGE, f"{option}: {folder} may not be written to", PLACE_ADVICE)
    return folder


def trouble_with(file: Path) -> str | None:
    """Why no file can be made, read and written there, its folders included; None where it can."""
    path = file.absolute()
    if path.is_dir():
        return f"{file} is a folder, not a file"
    try:
        if path.exists():
            return None if os.access(path, os.R_OK | os.W_OK) else f"{file} may not be written to"
    except OSError as error:
        return f"{file}: {error.strerror or error}"
    # NotADirectoryError is no error to `exists`, which says no.
    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    kernels = any(folder.is_relative_to(each) for each in KERNELS)
    if kernels or not os.access(folder, os.W_OK | os.X_OK):
        return f"no file can be made in {folder}"
    return None
