"""Users who log in by certificate: a broker that takes nothing else, and all that come to it."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from ladle.broker.node import PrivateNode, TlsFiles
from ladle.broker.roles import Role, users_of
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import Forbidden
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import LinkDown, Outgoing, Refused
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.settings import ClientSettings
from ladle_contracts.topology import Topology
from tests.fixtures.broker import private_node
from tests.fixtures.roles import Imported, imported_users
from tests.fixtures.service import running_service

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NAMES = {
    Role.MEDIA_SERVER: ["sfu-1"],
    Role.BACKEND: ["meetings"],
    Role.PLACEMENT: ["ladle"],
    Role.ADMINISTRATOR: ["root"],
}
NO_PASSWORD_AT_ALL = [
    "auth_mechanisms.1 = EXTERNAL",
    "ssl_cert_login_from = common_name",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def node(authority: trustme.CA, folder: Path) -> Iterator[PrivateNode]:
    """It asks each client for a certificate, and takes the user's name from it."""
    own = authority.issue_cert("localhost")
    files = TlsFiles(folder / "ca.pem", folder / "broker.pem", folder / "broker.key", True)
    authority.cert_pem.write_to_path(files.ca)
    own.cert_chain_pems[0].write_to_path(files.certificate)
    own.private_key_pem.write_to_path(files.key)
    plugins = ["rabbitmq_auth_mechanism_ssl"]
    with private_node(folder / "node", files, plugins=plugins, config=NO_PASSWORD_AT_ALL) as node:
        yield node


@pytest.fixture(scope="module")
def roles(node: PrivateNode, folder: Path) -> Iterator[Imported]:
    users = [user for role, names in NAMES.items() for user in users_of(role, names)]
    with imported_users(node, Topology(), users, folder) as made:
        node.ctl("clear_password", "sfu-1")  # who has a certificate needs none
        yield made


Settings = dict[str, str]


@pytest.fixture(scope="module")
def settings_of(roles: Imported, authority: trustme.CA, folder: Path) -> Callable[[str], Settings]:
    """The settings of a user with a certificate of its own, issued for its name; no password."""

    def made(user: str) -> Settings:
        file = folder / f"{user}.pem"
        if not file.exists():
            certificate = authority.issue_cert(f"{user}.example.org", common_name=user)
            certificate.private_key_and_cert_chain_pem.write_to_path(file)
        return {
            "amqp_url": f"amqps://{user}@localhost:{roles.node.tls_port}/{roles.vhost}",
            "tls_ca_file": str(folder / "ca.pem"),
            "tls_cert_file": str(file),
            "tls_login": "true",
        }

    return made


def read(settings: Settings) -> tuple[str, ssl.SSLContext | None]:
    """URL and context, as a program with these variables has them."""
    made = ClientSettings.model_validate(settings)
    return made.url, made.ssl_context()


@pytest.mark.parametrize("link", ["fast", "plain"])
async def test_service_server_and_backend_come_by_certificate(
    settings_of: Callable[[str], Settings], tmp_path: Path, link: str
) -> None:
    ladle = settings_of("ladle")
    url = ladle.pop("amqp_url")
    server_url, server_context = read(settings_of("sfu-1"))
    backend_url, backend_context = read(settings_of("meetings"))
    publisher = MediaServerPublisher.connect(
        server_url,
        "sfu-1",
        ServerDescription(host="sfu-1.example.org"),
        [WorkerDescription(worker_id="0")],
        ssl_context=server_context,
    )
    client = PlacementClient.connect(backend_url, ssl_context=backend_context)
    database = f"sqlite:///{tmp_path}/ladle.db"
    async with (
        running_service(
            url, "default", database, link=link, require_user_id=True, accept_loss=True, **ladle
        ) as running,
        publisher,
        client,
        asyncio.timeout(30),
    ):
        while not (await client.view()).servers:
            await asyncio.sleep(0.05)
        placed = await client.allocate("standup")
        assert placed.server.server_id == "sfu-1"
        view = running.service.term.writer.view  # type: ignore[union-attr]
        assert {user for user, _, _ in view.requests} == {"meetings"}
        with pytest.raises(Forbidden):
            await client.drain("sfu-1")


async def test_the_certificate_decides_and_not_what_the_url_says(
    settings_of: Callable[[str], Settings],
) -> None:
    settings = settings_of("meetings")
    settings["amqp_url"] = settings["amqp_url"].replace("meetings@", "root@")
    url, context = read(settings)
    link = AioPikaLink(url, ssl_context=context)
    await link.open()
    try:
        assert link.user == "root"
        names = Topology()
        message = Outgoing(names.placement_requests, "lookup", b"{}", user_id=link.user)
        with pytest.raises(Refused, match="user_id"):
            await link.publish(message)
        with pytest.raises(Refused, match="access"):
            await link.publish(Outgoing(names.media_commands, "drain.sfu-1", b"{}"))
    finally:
        await link.close()


async def test_who_has_no_certificate_or_one_of_strangers_is_sent_away(
    settings_of: Callable[[str], Settings], roles: Imported, tmp_path: Path
) -> None:
    known = settings_of("meetings")
    stranger = trustme.CA().issue_cert("meetings.example.org", common_name="meetings")
    file = tmp_path / "stranger.pem"
    stranger.private_key_and_cert_chain_pem.write_to_path(file)
    none = {name: known[name] for name in ("amqp_url", "tls_ca_file")}
    password = next(word for user, word in roles.users.items() if user.name == "meetings")
    # The broker offers no other way in, whatever is known besides.
    by_password = {
        **known,
        "tls_login": "false",
        "amqp_url": known["amqp_url"].replace("meetings@", f"meetings:{password}@"),
    }
    for settings in (none, {**known, "tls_cert_file": str(file)}, by_password):
        url, context = read(settings)
        with pytest.raises(LinkDown):
            await AioPikaLink(url, ssl_context=context, connect_timeout_ms=5_000).open()


@pytest.mark.parametrize(
    "command",
    [
        ("broker", "declare"),
        ("broker", "check"),
        ("dead-letters", "list"),
        ("doctor",),
    ],
)
def test_commands_come_by_certificate(
    settings_of: Callable[[str], Settings], tmp_path: Path, command: tuple[str, ...]
) -> None:
    variables = {f"LADLE_{name.upper()}": value for name, value in settings_of("root").items()}
    done = subprocess.run(
        [sys.executable, "-m", "ladle.cli", *command],
        env={**os.environ, "LADLE_DATABASE_URL": f"sqlite:///{tmp_path}/ladle.db", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    if command == ("doctor",):
        # It finds no service here, which it says; the broker answers.
        assert any(line.split()[:2] == ["ok", "broker"] for line in said.splitlines()), said
    else:
        assert done.returncode == 0, said
