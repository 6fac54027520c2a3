"""Where the broker of `ladle up` comes from: given, Docker's, or a private node of the machine."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ladle.commands.advice import broker_advice
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import LinkError
from ladle_contracts.settings import ClientSettings

if TYPE_CHECKING:
    from ladle.broker.node import PrivateNode

DOCKER_TIMEOUT_S = 20
DOCKER_ADVICE = (
    "set BROKER_PORT and BROKER_PAGE_PORT where a port is taken; or name a running broker in "
    "LADLE_AMQP_URL"
)
PACKAGE_ADVICE = "apt-get install rabbitmq-server, or name a running broker in LADLE_AMQP_URL"


class NoBroker(Exception):
    """No way to a broker is open; `advice` says what to install or set."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class Broker(Protocol):
    """A broker for a run. Blocking; `stop` may come from another thread while `start` works.

    `start` raises NoBroker. `stop` ends what `start` has begun so far, and only that, and is
    harmless to repeat: who stops a `start` under way repeats it until `start` has returned.
    """

    how: str
    starting: str
    """What `start` does, for those who wait for it."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def find_broker(state: Path, *, compose: Path = Path("compose.yaml")) -> Broker:
    """LADLE_AMQP_URL, else docker compose, else a private node kept under `state`; not started."""
    if given := os.environ.get("LADLE_AMQP_URL"):
        return GivenBroker(given)
    if compose.exists() and docker_works():
        return ComposeBroker(compose)
    return PrivateBroker(state / "rabbitmq")


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


class GivenBroker:
    """The one that LADLE_AMQP_URL names; it is somebody else's, and only asked whether it is up."""

    how = "LADLE_AMQP_URL"
    starting = "looking for the broker that LADLE_AMQP_URL names"

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """Look at it: a run that waits a minute for a wrong address helps nobody."""

        async def look() -> None:
            link = AioPikaLink(self.url, ssl_context=ClientSettings().ssl_context())
            try:
                await link.open()
            finally:
                await link.close()

        try:
            asyncio.run(look())
        except (LinkError, OSError) as error:
            raise NoBroker(f"LADLE_AMQP_URL: {error}", broker_advice(error)) from error

    def stop(self) -> None:
        """It was there before, and stays."""


class ComposeBroker:
    """The `rabbitmq` of compose.yaml, stopped again unless it ran before."""

    how = "docker compose"
    starting = "starting RabbitMQ with docker compose"

    def __init__(self, compose: Path) -> None:
        self._base = ["docker", "compose", "-f", str(compose)]
        self._begun: subprocess.Popen[str] | None = None
        self._ran_before = False
        self._stopped = False

    @property
    def url(self) -> str:
        """As compose.yaml makes its administrator; the same variables change it there."""
        password = os.environ.get("BROKER_PASSWORD", "ladle")
        port = os.environ.get("BROKER_PORT", "5672")
        return f"amqp://admin:{password}@127.0.0.1:{port}/"

    def start(self) -> None:
        running = subprocess.run(
            [*self._base, "ps", "--status", "running", "--services"],
            capture_output=True,
            text=True,
            check=False,
        )
        self._ran_before = "rabbitmq" in running.stdout.split()
        if self._stopped:
            return
        self._begun = subprocess.Popen(
            [*self._base, "up", "--detach", "--wait", "rabbitmq"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for `ladle up`, which ends it in its order.
            start_new_session=True,
        )
        said = self._begun.communicate()[1]
        if self._begun.returncode != 0 and not self._stopped:
            raise NoBroker(
                f"docker compose could not start RabbitMQ: {said.strip()[-500:]}", DOCKER_ADVICE
            )

    def stop(self) -> None:
        first, self._stopped = not self._stopped, True
        if self._begun is None or self._ran_before or not first:
            return
        if self._begun.poll() is None:
            self._begun.terminate()
            self._begun.wait()
        subprocess.run([*self._base, "stop", "rabbitmq"], capture_output=True, check=False)


class PrivateBroker:
    """A node of the machine's own package, with all that it writes in one folder."""

    how = "a private node"
    starting = "starting a private RabbitMQ node, 10 to 20 s"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._node: PrivateNode | None = None
        self._ready = False

    @property
    def url(self) -> str:
        assert self._node is not None
        return self._node.url

    def start(self) -> None:
        from ladle.broker.node import NodeError, PackageMissing, PrivateNode

        with self._lock:
            if self._stopped.is_set():
                return
            self._node = PrivateNode(self._folder)
        try:
            self._node.start()
            self._ready = True
        except PackageMissing as error:
            raise NoBroker(str(error), PACKAGE_ADVICE) from error
        except NodeError as error:
            if not self._stopped.is_set():
                raise NoBroker(str(error), f"look at {self._folder / 'log'}") from error

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            node = self._node
        if node is None:
            return
        if not self._ready and (pid := node.pid) is not None:
            # It would first finish its start before it hears of an end, and has nothing to lose.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.stop()
