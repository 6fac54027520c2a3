"""The private node: up when it says so, gone when it is stopped, also when its owner is killed."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ladle.broker.node import (
    RABBITMQ_BIN,
    NodeError,
    PackageMissing,
    PrivateNode,
    answers_amqp,
    free_ports,
)
from tests.fixtures.broker import private_node

OWNER = """
import sys, time
from pathlib import Path
from ladle.broker.node import PrivateNode
node = PrivateNode(Path(sys.argv[1])).start()
print(node.port, node.pid, node._epmd_port, flush=True)
time.sleep(600)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.broker
@pytest.mark.slow
def test_a_node_leaves_nothing_running(tmp_path: Path) -> None:
    with private_node(tmp_path / "node") as node:
        assert answers_amqp(node.host, node.port)
        assert node.node_name in node.ctl("eval", "node().")
        pid, epmd = node.pid, node._epmd_port
        assert pid is not None
        assert is_alive(pid)
        assert listens(epmd)
    assert not is_alive(pid)
    assert not listens(node.port)
    assert not listens(epmd)


@pytest.mark.broker
@pytest.mark.slow
def test_a_killed_owner_takes_its_node_along(tmp_path: Path) -> None:
    if not Path("/", RABBITMQ_BIN).exists() and os.environ.get("CI", "").lower() != "true":
        pytest.skip("no rabbitmq-server here")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "node")], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner:
        line = owner.stdout.readline()
        owner.kill()
    assert line, "the owner's node did not start"
    port, pid, epmd = map(int, line.split())
    deadline = time.monotonic() + 40
    while (is_alive(pid) or listens(epmd)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_alive(pid)
    assert not listens(port)
    assert not listens(epmd)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    node = PrivateNode(tmp_path / "node", root=tmp_path)
    with pytest.raises(PackageMissing, match="the package rabbitmq-server is missing"):
        node.start()


def fake_server(root: Path, script: str) -> None:
    folder = root / "usr/lib/rabbitmq/bin"
    folder.mkdir(parents=True)
    (folder / "rabbitmq-server").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "rabbitmq-server").chmod(0o755)


class Unrooted(PrivateNode):
    """A node whose scripts lie in another folder, without entering it by chroot."""

    def _prefix(self) -> list[str]:
        return []

    def inside(self, path: Path) -> str:
        return str(path)


def test_a_node_that_ends_says_why(tmp_path: Path) -> None:
    fake_server(tmp_path, "echo 'no space left'; exit 3")
    node = Unrooted(tmp_path / "node", root=tmp_path)
    with pytest.raises(NodeError, match="no space left"):
        node.start()
    assert node.pid is None


def test_a_node_that_hangs_is_given_up_and_ended(tmp_path: Path) -> None:
    fake_server(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    node = Unrooted(tmp_path / "node", root=tmp_path)
    with pytest.raises(NodeError, match="not up after 1 s"):
        node.start(timeout_s=1)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_silence_is_not_readiness() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not answers_amqp("127.0.0.1", silent.getsockname()[1], timeout_s=0.2)


def test_free_ports_differ() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert not any(listens(port) for port in ports)


def test_stop_before_start_is_nothing(tmp_path: Path) -> None:
    node = PrivateNode(tmp_path / "node")
    node.stop()
    assert not node.is_running
    assert os.listdir(tmp_path) == []
