"""tools/setup.sh, where it may not install: it says what to do, asks nothing, changes nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house.sources import ROOT

TOOLS = [
    "bash",
    "cat",
    "dirname",
    "env",
    "head",
    "id",
    "mktemp",
    "sha256sum",
    "timeout",
    "tr",
    "cut",
]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without a virtual environment, and a PATH that has hardly anything."""
    checkout = tmp_path / "checkout"
    (checkout / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools/setup.sh", checkout / "tools")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (programs / tool).symlink_to(found)
    program(programs / "id", "echo 1000")  # nobody special
    return checkout


def program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def set_up(checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(checkout.parent / "bin"), "LADLE_AMQP_URL": "amqp://given/"}
    return subprocess.run(
        [str(checkout / "tools/setup.sh"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_python_it_says_which_is_needed(bare: Path) -> None:
    done = set_up(bare, "run")
    assert done.returncode == 3
    assert "Python 3.11" in done.stderr


def test_an_old_python_is_refused(bare: Path) -> None:
    program(bare.parent / "bin/python3", "exit 1")
    done = set_up(bare, "run")
    assert done.returncode == 3
    assert "Python 3.11" in done.stderr


@pytest.mark.parametrize("sudo", [None, "exit 1"], ids=["no sudo", "sudo wants a password"])
def test_without_rights_it_names_the_packages(bare: Path, sudo: str | None) -> None:
    """Debian's Python has no venv until python3-venv is there."""
    without_venv = 'case "$2" in *ensurepip*) exit 1 ;; esac; exit 0'
    program(bare.parent / "bin/python3", without_venv)
    program(bare.parent / "bin/apt-get", "echo called >&2; exit 1")
    if sudo:
        program(bare.parent / "bin/sudo", sudo)
    done = set_up(bare, "run")
    assert done.returncode == 3
    assert "sudo apt-get install --no-install-recommends python3-venv\n" in done.stderr
    assert "called" not in done.stderr
    assert not (bare / ".venv").exists()


def test_a_wrong_word_is_usage(bare: Path) -> None:
    done = set_up(bare, "everything")
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_services_are_allowed_again_after_a_failed_installation(bare: Path) -> None:
    """A policy-rc.d that stayed behind would keep every later package from starting."""
    programs = bare.parent / "bin"
    policy, cluster = bare.parent / "policy-rc.d", bare.parent / "cluster.conf"
    script = bare / "tools/setup.sh"
    text = script.read_text(encoding="utf-8")
    text = text.replace("/usr/sbin/policy-rc.d", str(policy))
    text = text.replace("/etc/postgresql-common/createcluster.d/ladle-setup.conf", str(cluster))
    script.write_text(text, encoding="utf-8")
    program(programs / "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac; exit 0')
    program(programs / "sudo", 'shift; exec "$@"')
    for tool in ("install", "rm", "cp", "tail", "true"):
        (programs / tool).symlink_to(shutil.which(tool) or os.devnull)
    # What an installation sees: no service may start, no cluster is made.
    program(programs / "apt-get", f'"{policy}"; echo "policy $?"; cat "{cluster}"; exit 100')
    policy.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    policy.chmod(0o755)
    done = set_up(bare, "run")
    assert done.returncode == 3
    assert "policy 101" in done.stderr
    assert "create_main_cluster = false" in done.stderr
    assert policy.read_text(encoding="utf-8") == "#!/bin/sh\nexit 0\n"
    assert not cluster.exists()
