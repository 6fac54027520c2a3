"""A private RabbitMQ: one node of the machine's own package, in a folder and on ports of its own.

It serves `ladle up` and the tests where no broker is given and Docker is not there. Nothing of the
machine's own broker is read or written: cookie, ports, epmd, configuration and data are private.

The node ends with its owner. Beside it runs a shell that waits on a pipe from the owner; when the
pipe closes, by `stop()` or because the owner was killed, the shell stops the node by its process
id and then the epmd that Erlang leaves behind.
"""

import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

RABBITMQ_BIN = Path("usr/lib/rabbitmq/bin")
"""Where Debian keeps the scripts that do not change the user, relative to a root."""

AMQP_HEADER = b"AMQP\x00\x00\x09\x01"

# $1 the server script, $2 its log. The background part keeps descriptors 3 (from the owner: closed
# means stop) and 4 (to the owner: closed means all is over); the node itself has neither.
SUPERVISOR = r"""
exec 3<&0 4>&1 </dev/null >>"$2" 2>&1
node=$$
(
  trap '' HUP INT TERM
  read -r _ <&3
  kill -TERM "$node"
  tries=0
  while kill -0 "$node" && [ "$tries" -lt 200 ]; do tries=$((tries + 1)); sleep 0.1; done
  kill -KILL "$node"
  tries=0
  # It refuses while the node's name is still registered.
  while epmd -names && [ "$tries" -lt 50 ]; do epmd -kill; tries=$((tries + 1)); sleep 0.1; done
) >/dev/null 2>&1 &
exec 3<&- 4>&-
exec "$1"
"""


class NodeError(Exception):
    """The private RabbitMQ node could not be started or asked."""


class PackageMissing(NodeError):
    """RabbitMQ is not installed; try `apt-get install rabbitmq-server`."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a TLS listener. `asks_clients`: who has no certificate of `ca` is sent away."""

    ca: Path
    certificate: Path
    key: Path
    asks_clients: bool = False


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()


def answers_amqp(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether what listens there answers the AMQP header with bytes."""
    with (
        suppress(OSError),
        socket.create_connection((host, port), timeout=timeout_s) as connection,
    ):
        connection.sendall(AMQP_HEADER)
        return bool(connection.recv(1))
    return False


class PrivateNode:
    """Start and stop one private RabbitMQ node; blocking calls (10 to 18 s to start).

    `base` holds everything of the node and may be kept for its next start. `root` is another
    file system root with RabbitMQ in it (a debootstrap folder), entered by chroot; `base` must
    then lie below it.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        base: Path,
        *,
        name: str = "ladle",
        port: int = 0,
        tls: TlsFiles | None = None,
        config: Sequence[str] = (),
        plugins: Sequence[str] = (),
        root: Path = Path("/"),
    ) -> None:
        self.base = base.resolve()
        self.root = root.resolve()
        self.node_name = f"{name}@{self.host}"
        self._tls = tls
        self._config = list(config)
        self._plugins = list(plugins)
        free = free_ports(4)
        self.port = port or free[0]
        self.tls_port, self._dist_port, self._epmd_port = free[1:]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """AMQP address of the default user in the default virtual host."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The same over TLS; by name, since certificates seldom name an address."""
        return f"amqps://guest:guest@localhost:{self.tls_port}/"

    @property
    def log(self) -> Path:
        """What the node printed."""
        return self.base / "node.log"

    @property
    def pid(self) -> int | None:
        """Process id of the running node."""
        return self._process.pid if self.is_running and self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 120.0) -> Self:
        """Start the node and wait until it speaks AMQP.

        Raises PackageMissing, or NodeError with the end of the log where it does not come up.
        """
        if self.is_running:
            return self
        server = self.root / RABBITMQ_BIN / "rabbitmq-server"
        if not server.exists():
            raise PackageMissing(f"the package rabbitmq-server is missing: no {server}")
        self._write_files()
        command = ["/bin/sh", "-c", SUPERVISOR, "ladle-broker"]
        self._process = subprocess.Popen(
            [*self._prefix(), *command, self.inside(server), self.inside(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment(),
            cwd="/",
            start_new_session=True,
        )
        self._wait_until_ready(timeout_s)
        return self

    def stop(self) -> None:
        """Stop the node and its epmd; returns when both are gone. Safe to call twice."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()
        process.wait()
        process.stdout.read()  # the end of the supervisor's part
        process.stdout.close()

    def ctl(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run rabbitmqctl against the node and return what it prints; about 1.6 s a call."""
        script = self.inside(self.root / RABBITMQ_BIN / "rabbitmqctl")
        done = subprocess.run(
            [*self._prefix(), script, *arguments],
            env=self._environment(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise NodeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while not answers_amqp(self.host, self.port):
                if not self.is_running:
                    raise NodeError(f"RabbitMQ ended while starting:\n{self._log_end()}")
                if time.monotonic() > deadline:
                    raise NodeError(
                        f"RabbitMQ is not up after {timeout_s:.0f} s:\n{self._log_end()}"
                    )
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise

    def _log_end(self, lines: int = 20) -> str:
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def _prefix(self) -> list[str]:
        return [] if self.root == Path("/") else ["chroot", str(self.root)]

    def inside(self, path: Path) -> str:
        """`path` as the node sees it."""
        return "/" + str(path.absolute().relative_to(self.root))

    def _write_files(self) -> None:
        for folder in (self.base, self.base / "home", self.base / "data", self.base / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        # Streams need no plugin over AMQP 0-9-1, and none is one port less to collide on.
        (self.base / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        lines = [
            f"listeners.tcp.1 = {self.host}:{self.port}",
            # Below it the broker blocks every publisher; what is stored here is small.
            "disk_free_limit.absolute = 20MB",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
            *self._tls_lines(),
            *self._config,
        ]
        (self.base / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    def _tls_lines(self) -> list[str]:
        if self._tls is None:
            return []
        return [
            f"listeners.ssl.1 = {self.host}:{self.tls_port}",
            f"ssl_options.cacertfile = {self.inside(self._tls.ca)}",
            f"ssl_options.certfile = {self.inside(self._tls.certificate)}",
            f"ssl_options.keyfile = {self.inside(self._tls.key)}",
            f"ssl_options.verify = {'verify_peer' if self._tls.asks_clients else 'verify_none'}",
            f"ssl_options.fail_if_no_peer_cert = {str(self._tls.asks_clients).lower()}",
        ]

    def _environment(self) -> dict[str, str]:
        base = self.inside(self.base)
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": f"{base}/home",  # the Erlang cookie
            # Without it the server script stays in front of the node, and the process id is its.
            "RUNNING_UNDER_SYSTEMD": "true",
            # Long names: a machine without /etc/hosts cannot resolve short ones.
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_MNESIA_BASE": f"{base}/data",
            "RABBITMQ_LOG_BASE": f"{base}/log",
            "RABBITMQ_PID_FILE": f"{base}/node.pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{base}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{base}/rabbitmq.conf",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{base}/config",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{base}/data/feature_flags",
            # A file that is not there: /etc/rabbitmq is not read.
            "RABBITMQ_CONF_ENV_FILE": f"{base}/no-environment",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
