"""Users who log in by certificate: a broker that takes nothing else, and all that come to it.

The chain is one as in life: a root that all trust, an authority below it that signed everything.
"""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ladle.broker.connecting import connected
from ladle.broker.node import PrivateNode, TlsFiles
from ladle.broker.roles import Role, users_of
from ladle.placement.build import make_link
from ladle.placement.settings import PlacementSettings
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import Forbidden
from ladle_contracts.events import ServerDescription, WorkerDescription
from ladle_contracts.link import Link, LinkDown, Outgoing, Refused
from ladle_contracts.publisher import MediaServerPublisher
from ladle_contracts.settings import ClientSettings
from ladle_contracts.topology import Topology
from tests.commands.conftest import Ladle, Said
from tests.fixtures.broker import private_node
from tests.fixtures.certificates import Authorities, Issued, as_at_the_end_of_a_process
from tests.fixtures.roles import Imported, imported_users
from tests.fixtures.service import running_service

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NAMES = {
    Role.MEDIA_SERVER: ["sfu-1"],
    Role.BACKEND: ["meetings"],
    Role.PLACEMENT: ["ladle"],
    Role.ADMINISTRATOR: ["root"],
    Role.GATEWAY: ["fleet"],
    Role.AUDITOR: ["auditor"],
}
SECRET = "hunter2"
"""The password of each key, looked for in all that is said."""

NO_PASSWORD_AT_ALL = [
    "auth_mechanisms.1 = EXTERNAL",
    "ssl_cert_login_from = common_name",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authorities(folder: Path) -> Authorities:
    return Authorities(folder)


@pytest.fixture(scope="module")
def own(authorities: Authorities) -> Issued:
    """The broker's own; it has a name, and 127.0.0.1 is none."""
    return authorities.issue("broker", "localhost")


@pytest.fixture(scope="module")
def node(authorities: Authorities, own: Issued, folder: Path) -> Iterator[PrivateNode]:
    """It asks each client for a certificate, and takes the user's name from it."""
    files = TlsFiles(authorities.root, own.certificate, own.key, True)
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
def settings_of(roles: Imported, authorities: Authorities) -> Callable[[str], Settings]:
    """The settings of a user with a certificate of its own, issued for its name; no password."""
    known: dict[str, Issued] = {}

    def made(user: str) -> Settings:
        if user not in known:
            known[user] = authorities.issue(user, user=user, password=SECRET)
        return {
            "amqp_url": f"amqps://{user}@localhost:{roles.node.tls_port}/{roles.vhost}",
            "tls_ca_file": str(authorities.root),
            "tls_cert_file": str(known[user].certificate),
            "tls_key_file": str(known[user].key),
            "tls_key_password": SECRET,
            "tls_login": "true",
        }

    return made


def variables(settings: Settings) -> dict[str, str]:
    return {f"LADLE_{name.upper()}": value for name, value in settings.items()}


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
    stranger = Authorities(tmp_path).issue("stranger", user="meetings")
    shown = {"tls_cert_file": str(stranger.certificate), "tls_key_file": str(stranger.key)}
    none = {name: known[name] for name in ("amqp_url", "tls_ca_file")}
    password = next(word for user, word in roles.users.items() if user.name == "meetings")
    # The broker offers no other way in, whatever is known besides.
    by_password = {
        **known,
        "tls_login": "false",
        "amqp_url": known["amqp_url"].replace("meetings@", f"meetings:{password}@"),
    }
    refused = "refuses this side's certificate or misses one.*LADLE_TLS_CERT_FILE"
    for settings, said in ((none, refused), ({**known, **shown}, refused), (by_password, None)):
        url, context = read(settings)
        with pytest.raises(LinkDown, match=said):
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
    done = subprocess.run(
        [sys.executable, "-m", "ladle.cli", *command],
        env={
            **os.environ,
            "LADLE_DATABASE_URL": f"sqlite:///{tmp_path}/ladle.db",
            **variables(settings_of("root")),
        },
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


async def run(settings: Settings, database: str, *words: str) -> Said:
    """A command beside the service that runs in this loop."""
    ladle = Ladle({**variables(settings), "LADLE_DATABASE_URL": database})
    return await asyncio.to_thread(ladle, *words)


async def run_apart(settings: Settings, database: str, *words: str) -> Said:
    """The same in a process of its own, for what takes signals."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ladle.cli", *words),
        env={**os.environ, **variables(settings), "LADLE_DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Said(process.returncode or 0, out.decode(), err.decode())


async def test_fleet_screen_and_audits_come_by_certificate(
    settings_of: Callable[[str], Settings], tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/ladle.db"
    root, auditor = settings_of("root"), settings_of("auditor")
    await forget_what_was(*read(root))
    ladle = settings_of("ladle")
    async with running_service(ladle.pop("amqp_url"), "default", database, **ladle):
        few = ("--servers", "1", "--workers", "1", "--duration", "1", "--rate", "2")
        fleet = await run_apart(settings_of("fleet"), database, "fleet", *few, "--json")
        assert (fleet.code, fleet.json()["view_matches_fleet"]) == (0, True), fleet.err
        screen = await run(settings_of("meetings"), database, "top", "--once")
        assert (screen.code, "sfu-1" in screen.out) == (0, True), screen.err
        look = await run(root, database, "doctor")
        assert look.code == 0, look.out
    witness = await run(auditor, database, "audit", "verify", "--against-stream", "--json")
    assert (witness.code, witness.json()["unchecked"]) == (0, []), witness.err
    assert witness.json()["heard"] > 0
    stream = auditor["amqp_url"]
    alone = await run(auditor, database, "audit", "verify", "--source", stream, "--json")
    assert (alone.code, alone.json()["violations"]["count"]) == (4, 0), alone.err
    said = await run(auditor, database, "audit", "timeline", "sfu-1", "--source", stream)
    assert (said.code, "server-registered" in said.out) == (0, True), said.err


async def forget_what_was(url: str, context: ssl.SSLContext | None) -> None:
    """What earlier services wrote and heard: the next one has a journal of its own."""
    async with connected(url, context) as connection:
        channel = await connection.channel()
        await channel.queue_delete(Topology().log)
        await channel.queue_purge(Topology().inbox)


@pytest.fixture
def expired(node: PrivateNode, authorities: Authorities, own: Issued) -> Iterator[None]:
    """The broker's certificate has run out; afterwards it has its good one again."""
    old = authorities.issue("old", "localhost", expired=True)
    good = own.certificate.read_bytes(), own.key.read_bytes()

    def show(certificate: bytes, key: bytes) -> None:
        own.certificate.write_bytes(certificate)
        own.key.write_bytes(key)
        node.ctl("eval", "ssl:clear_pem_cache().")

    show(old.certificate.read_bytes(), old.key.read_bytes())
    yield
    show(*good)


def test_a_broker_whose_certificate_has_run_out(
    expired: None, settings_of: Callable[[str], Settings]
) -> None:
    refused(settings_of("root"), "has expired", "renew it")


def test_a_broker_that_cannot_be_trusted(
    settings_of: Callable[[str], Settings], node: PrivateNode, tmp_path: Path
) -> None:
    known = settings_of("root")
    elsewhere = {**known, "amqp_url": known["amqp_url"].replace("localhost", "127.0.0.1")}
    refused(elsewhere, "for another name", "LADLE_AMQP_URL")
    unknown = {**known, "tls_ca_file": str(Authorities(tmp_path).root)}
    refused(unknown, "no authority that is trusted", "LADLE_TLS_CA_FILE")
    plain = {**known, "amqp_url": known["amqp_url"].replace(str(node.tls_port), str(node.port))}
    refused(plain, "speaks no TLS at this port", "LADLE_AMQP_URL")


def test_whom_the_broker_does_not_take(
    settings_of: Callable[[str], Settings], tmp_path: Path
) -> None:
    known = settings_of("root")
    stranger = Authorities(tmp_path).issue("stranger", user="root", password=SECRET)
    shown = {"tls_cert_file": str(stranger.certificate), "tls_key_file": str(stranger.key)}
    refused({**known, **shown}, "refuses this side's certificate or", "LADLE_TLS_CERT_FILE")


@as_at_the_end_of_a_process()
def refused(settings: Settings, *said: str) -> None:
    """Each way to the broker says the same, with the exit code of a thing out of reach."""
    ladle = Ladle({**variables(settings), "COLUMNS": "10000"})
    for command, code in (
        (("broker", "declare"), 3),
        (("broker", "check"), 3),
        (("dead-letters", "list"), 3),
        (("view",), 3),
        (("fleet", "--duration", "1"), 3),
        (("audit", "verify", "--source", settings["amqp_url"]), 5),
        (("doctor",), 1),
    ):
        told = ladle(*command)
        words = " ".join((told.out + told.err).split())
        assert told.code == code, (command, words)
        for each in said:
            assert each in words, (command, words)
        assert SECRET not in words
        assert "Traceback" not in words
    for link in ("fast", "plain"):
        made = PlacementSettings.model_validate({**settings, "link": link})
        with pytest.raises(LinkDown, match=said[0]):
            asyncio.run(opened(make_link(made)))


async def opened(link: Link) -> None:
    try:
        await link.open()
    finally:
        await link.close()
