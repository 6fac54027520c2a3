"""PostgreSQL over TLS: a root of one's own, an authority below it, users by their certificates."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import make_url

from ladle.journal.schema import current
from ladle.journal.store import StoreError
from tests.audit.test_archive import days
from tests.commands.conftest import Ladle
from tests.fixtures.certificates import Authorities, Issued, as_at_the_end_of_a_process
from tests.fixtures.postgres import PrivatePostgres, ask, new_database, private_postgres
from tests.fixtures.service import running_service
from tests.placement.test_lost_records import place

pytestmark = pytest.mark.postgres

SECRET = "hunter2"
"""Looked for in all that is said."""
CONNECTIONS = (
    "SELECT DISTINCT ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
    "WHERE application_name = 'ladle'"
)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    return Authorities(tmp_path_factory.mktemp("authorities"))


@pytest.fixture(scope="module")
def own(authorities: Authorities) -> Issued:
    """The server's own; it has a name, and 127.0.0.1 is none."""
    return authorities.issue("postgres", "localhost")


@pytest.fixture(scope="module")
def server(authorities: Authorities, own: Issued) -> Iterator[PrivatePostgres]:
    with private_postgres(own, authorities.root) as server:
        yield server


@pytest.fixture(scope="module")
def ladles(authorities: Authorities) -> Issued:
    """The certificate of the database's user; its key has a password."""
    return authorities.issue("ladle", user="ladle", password=SECRET)


Url = Callable[..., str]


@pytest.fixture
def url(server: PrivatePostgres, authorities: Authorities, ladles: Issued) -> Iterator[Url]:
    """The address of a new database; a test bends one part of it, or leaves it out with None."""
    with new_database(server.url("postgres")) as name:

        def made(host: str = "localhost", **bent: str | None) -> str:
            given = {
                "sslmode": "verify-full",
                "sslrootcert": str(authorities.root),
                "sslcert": str(ladles.certificate),
                "sslkey": str(ladles.key),
                "sslpassword": SECRET,
                **bent,
            }
            query = urlencode({name: value for name, value in given.items() if value is not None})
            return f"postgresql://ladle:{SECRET}@{host}:{server.port}/{name}?{query}"

        yield made


@pytest.mark.broker
async def test_a_service_writes_and_reads_over_tls(
    broker_url: str, cell: str, server: PrivatePostgres, url: Url
) -> None:
    async with running_service(broker_url, cell, url()) as running:
        await place(running, "standup")
        async with running.client() as client:
            # Reads of the journal go through a connection pool of their own.
            assert (await client.history(room_id="standup")).records
        seen = await asyncio.to_thread(ask, server.url("postgres"), CONNECTIONS)
    ((encrypted, name),) = seen
    assert encrypted
    assert name.endswith("CN=ladle")


def test_every_command_that_opens_the_database(url: Url, tmp_path: Path) -> None:
    ladle = Ladle({"LADLE_DATABASE_URL": url()})
    made = ladle("db", "upgrade", "--json")
    assert (made.code, made.json()["before"]) == (0, None), made.err
    asyncio.run(days(url()))
    assert ladle("db", "snapshot").code == 0
    # In one process and in several, each with a connection of its own.
    for jobs in ("1", "2"):
        verified = ladle("audit", "verify", "--jobs", jobs, "--json")
        assert (verified.code, verified.json()["status"]) == (0, "verified"), verified.err
    elsewhere = Ladle({"LADLE_DATABASE_URL": "sqlite:///none.db"})
    assert elsewhere("audit", "at", "20", "--source", url()).code == 0
    key, note, archive = tmp_path / "key", tmp_path / "note", tmp_path / "archive"
    verifier = ladle("audit", "keygen", str(key), "--name", "test").out.strip()
    note.write_text(ladle("audit", "checkpoint", "--key", str(key)).out)
    signed = ("--checkpoint", str(note), "--key", verifier)
    archived = ladle("db", "archive", "--to", str(archive), *signed, "--json")
    assert (archived.code, archived.json()["status"]) == (0, "ok"), archived.err
    both = ladle("audit", "verify", "--archive", str(archive), "--json")
    assert (both.code, both.json()["status"]) == (0, "verified"), both.err


Refused = tuple[str, str]
"""What stands in the address instead, and what is said of it."""


@as_at_the_end_of_a_process()
def refused(ladle: Ladle, *said: str) -> None:
    """Each way to the database says the same, with the exit code of a thing out of reach."""
    for command, code in (
        (("db", "upgrade"), 3),
        (("audit", "verify"), 5),
        (("db", "snapshot"), 3),
        (("doctor",), 1),
    ):
        told = ladle(*command)
        words = " ".join((told.out + told.err).split())
        assert told.code == code, (command, words)
        for each in said:
            assert each in words, (command, words)
        assert SECRET not in words
        assert "Traceback" not in words


@pytest.fixture
def bent(url: Url) -> Callable[..., Ladle]:
    def made(host: str = "localhost", **parts: str | None) -> Ladle:
        nowhere = "amqp://guest:guest@127.0.0.1:9/"
        address = url(host, **parts)
        return Ladle({"LADLE_DATABASE_URL": address, "LADLE_AMQP_URL": nowhere, "COLUMNS": "10000"})

    return made


def test_a_server_that_cannot_be_trusted(
    bent: Callable[..., Ladle],
    server: PrivatePostgres,
    authorities: Authorities,
    own: Issued,
    tmp_path: Path,
) -> None:
    refused(bent("127.0.0.1"), "for another name", "LADLE_DATABASE_URL")
    stranger = Authorities(tmp_path)
    unknown = bent(sslrootcert=str(stranger.root))
    refused(unknown, "no authority that is trusted", "sslrootcert in LADLE_DATABASE_URL")
    server.show(authorities.issue("expired", "localhost", expired=True))
    try:
        refused(bent(), "has expired", "renew it")
    finally:
        server.show(own)
    assert bent()("db", "upgrade").code == 0


def test_whom_the_server_does_not_let_in(
    bent: Callable[..., Ladle], authorities: Authorities
) -> None:
    refused(bent(sslcert=None, sslkey=None), "certificate", "sslcert", "LADLE_DATABASE_URL")
    other = authorities.issue("other", user="other")
    shown = {"sslcert": str(other.certificate), "sslkey": str(other.key), "sslpassword": None}
    refused(bent(**shown), "sslcert", "LADLE_DATABASE_URL")
    unencrypted = {"sslmode": "disable", "sslrootcert": None}
    refused(bent(**unencrypted), "sslmode", "LADLE_DATABASE_URL")


@pytest.mark.parametrize(
    ("command", "code"), [(("db", "upgrade"), 3), (("audit", "verify"), 5)], ids=str
)
def test_a_certificate_of_strangers(
    bent: Callable[..., Ladle], tmp_path: Path, command: tuple[str, ...], code: int
) -> None:
    """In a process of its own: the driver leaves the socket of a handshake that was refused behind
    its back to the end of the process."""
    foreign = Authorities(tmp_path).issue("foreign", user="ladle")
    shown = {"sslcert": str(foreign.certificate), "sslkey": str(foreign.key), "sslpassword": None}
    with bent(**shown).started(*command) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    words = " ".join((out + err).split())
    assert "refuses this side's certificate or misses one" in words
    assert "sslcert in LADLE_DATABASE_URL" in words
    assert SECRET not in words
    assert "Traceback" not in words


async def test_an_end_behind_the_handshake_is_told_as_what_it_may_mean(
    authorities: Authorities, own: Issued, url: Url
) -> None:
    """Where the alert is lost with the connection, as it is where the server is quick."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        writer.close()

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = make_url(url()).set(port=port).render_as_string(hide_password=False)
        with pytest.raises(StoreError, match="ended the connection right behind") as caught:
            await current(address)
    assert "sslcert in LADLE_DATABASE_URL" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"sslrootcert": "none.pem"}, "sslrootcert in LADLE_DATABASE_URL: none.pem: No such file"),
        ({"sslcert": "none.pem"}, "sslcert in LADLE_DATABASE_URL: none.pem: No such file"),
        ({"sslcert": "none.pem", "sslkey": None}, "sslcert in LADLE_DATABASE_URL: none.pem"),
        ({"sslkey": "none.key"}, "sslkey in LADLE_DATABASE_URL: none.key: No such file"),
        ({"sslrootcert": __file__}, "sslrootcert in LADLE_DATABASE_URL: no certificate in PEM"),
        ({"sslpassword": "wrong"}, "needs sslpassword"),
        ({"sslpassword": None}, "needs sslpassword"),
        ({"sslmode": None}, "sslmode=verify-full"),
    ],
    ids=str,
)
def test_a_file_that_is_not_what_its_parameter_says(
    bent: Callable[..., Ladle], parts: dict[str, str | None], said: str
) -> None:
    """Before anything is connected: a setting that cannot be meant."""
    for command in (("db", "upgrade", "--json"), ("audit", "verify", "--json"), ("placement",)):
        told = bent(**parts)(*command)
        assert told.code == 2, (command, told.err)
        assert said in told.err
        assert SECRET not in told.err + told.out
        if told.out:
            assert told.json()["error"]["code"] == "usage"
