"""The locked requirements: complete, hashed, of one version, and what pyproject.toml asks for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools.lock import requirements_of

from tests.house.sources import ROOT

NAMES = ["build", "light", "run", "dev"]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    found = PIN.finditer(text_of(name))
    return {canonicalize_name(match["name"]): match["version"] for match in found}


@pytest.mark.parametrize(
    ("lock", "extra"), [("light", None), ("run", "all"), ("dev", "dev"), ("dev", "all")]
)
def test_a_lock_has_what_the_project_asks_for(lock: str, extra: str | None) -> None:
    """Where this fails, pyproject.toml was changed: `make lock`."""
    locked = pins(lock)
    unmet = []
    for line in requirements_of(PROJECT["project"], extra):
        wanted = Requirement(line)
        version = locked.get(canonicalize_name(wanted.name))
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{line}: locked {version}")
    assert unmet == []


def test_the_build_lock_has_the_build_backend() -> None:
    locked = pins("build")
    for line in PROJECT["build-system"]["requires"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)])


@pytest.mark.parametrize("name", NAMES)
def test_every_pin_is_hashed(name: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text_of(name))
    pinned = [block for block in blocks if PIN.match(block)]
    assert len(pinned) == len(pins(name)) > 0
    assert [block.splitlines()[0] for block in pinned if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_address_is_locked(name: str) -> None:
    """The files install from whatever index a machine is set to."""
    addresses = r"https?://|file:/|^--(?:index|extra-index|find-links)| @ "
    assert re.findall(addresses, text_of(name), re.MULTILINE) == []


@pytest.mark.parametrize("name", ["build", "light", "run"])
def test_one_version_serves_all(name: str) -> None:
    dev = pins("dev")
    assert {each: version for each, version in pins(name).items() if dev.get(each) != version} == {}


def test_the_light_install_stays_light() -> None:
    assert len(pins("light")) <= 20
