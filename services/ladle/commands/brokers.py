"""Where the broker of `ladle up` comes from: given, Docker's, or a private node of the machine."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DOCKER_TIMEOUT_S = 20


class NoBroker(Exception):
    """No way to a broker is open; the message says what to install or set."""


@dataclass(slots=True)
class FoundBroker:
    """A broker that answers. `stop` ends what `find_broker` started, and only that."""

    url: str
    how: str
    stop: Callable[[], None]


def find_broker(state: Path, say: Callable[[str], None]) -> FoundBroker:
    """LADLE_AMQP_URL, else docker compose, else a private node kept under `state`.

    Raises NoBroker.
    """
    given = os.environ.get("LADLE_AMQP_URL")
    if given:
        return FoundBroker(given, "LADLE_AMQP_URL", lambda: None)
    compose = Path("compose.yaml")
    if compose.exists() and docker_works():
        return _from_compose(compose, say)
    return _private_node(state, say)


def docker_works() -> bool:
    """An engine that answers and the compose plugin; a client alone is common and no use."""
    if shutil.which("docker") is None:
        return False
    try:
        return all(
            subprocess.run(
                ["docker", *arguments], capture_output=True, timeout=DOCKER_TIMEOUT_S, check=False
            ).returncode
            == 0
            for arguments in (["info"], ["compose", "version"])
        )
    except subprocess.TimeoutExpired:
        return False


def _from_compose(compose: Path, say: Callable[[str], None]) -> FoundBroker:
    say("starting RabbitMQ with docker compose")
    base = ["docker", "compose", "-f", str(compose)]
    started = subprocess.run(
        [*base, "up", "--detach", "--wait", "rabbitmq"], capture_output=True, text=True, check=False
    )
    if started.returncode != 0:
        raise NoBroker(f"docker compose could not start RabbitMQ: {started.stderr.strip()[-500:]}")
    url = os.environ.get("LADLE_COMPOSE_AMQP_URL", "amqp://ladle:ladle@127.0.0.1:5672/")

    def stop() -> None:
        subprocess.run([*base, "stop", "rabbitmq"], capture_output=True, check=False)

    return FoundBroker(url, "docker compose", stop)


def _private_node(state: Path, say: Callable[[str], None]) -> FoundBroker:
    from ladle.broker.node import NodeError, PackageMissing, PrivateNode

    say("starting a private RabbitMQ node (10 to 20 s)")
    node = PrivateNode(state / "rabbitmq")
    try:
        node.start()
    except PackageMissing as error:
        raise NoBroker(
            f"{error}; or give a broker with LADLE_AMQP_URL=amqp://user:password@host/"
        ) from error
    except NodeError as error:
        raise NoBroker(str(error)) from error
    return FoundBroker(node.url, f"a private node, log {node.log}", node.stop)
