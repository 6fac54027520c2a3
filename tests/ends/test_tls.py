"""What failed handshakes are told as: real ones, between two ends in memory."""

import ssl
from asyncio import CancelledError
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from ladle_contracts.tls import BROKER, greeting_trouble, handshake_trouble

CLIENT = ssl.Purpose.SERVER_AUTH
SERVER = ssl.Purpose.CLIENT_AUTH
DAY = timedelta(days=1)

Pair = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def ends(authority: trustme.CA, *, since: timedelta = -DAY, until: timedelta = DAY) -> Pair:
    """A client that trusts the authority, and a server named `broker` that it signed."""
    now = datetime.now(UTC)
    client, server = ssl.create_default_context(CLIENT), ssl.create_default_context(SERVER)
    authority.configure_trust(client)
    authority.configure_trust(server)
    issued = authority.issue_cert("broker", not_before=now + since, not_after=now + until)
    issued.configure_cert(server)
    return client, server


def told(pair: Pair, name: str = "broker") -> str | None:
    """What the client's error is told as; None where they agree."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = pair[0].wrap_bio(to_client, to_server, server_hostname=name)
    server = pair[1].wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for end in (client, server):
            try:
                end.do_handshake()
                # With TLS 1.3 the client is done before the server has looked at it.
                end.read(1)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                if end is client:
                    return handshake_trouble(wrapped(error), BROKER)
    return None


def wrapped(error: BaseException) -> Exception:
    """As a library raises it: an error of its own, from the one that says something."""
    try:
        raise ConnectionError("the connection failed") from error
    except ConnectionError as outer:
        return outer


def test_two_that_agree(authority: trustme.CA) -> None:
    assert told(ends(authority)) is None
    assert handshake_trouble(ConnectionRefusedError("nobody there"), BROKER) is None


def test_a_server_that_is_not_trusted(authority: trustme.CA) -> None:
    def said(pair: Pair, name: str = "broker") -> str:
        return told(pair, name) or ""

    assert "has expired" in said(ends(authority, since=-2 * DAY, until=-DAY))
    assert "is not valid yet" in said(ends(authority, since=DAY, until=2 * DAY))
    other = said(ends(authority), "elsewhere")
    assert "is for another name (Hostname mismatch" in other
    assert other.endswith("name one that it holds in LADLE_AMQP_URL")
    unknown = said((ends(trustme.CA())[0], ends(authority)[1]))
    assert "no authority that is trusted here" in unknown
    assert "LADLE_TLS_CA_FILE" in unknown
    client, server = ends(authority)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    assert (
        said((client, server))
        == "the broker's certificate is refused: unable to get certificate CRL"
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_is_not_trusted(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    for shown in (None, trustme.CA().issue_cert("stranger")):
        client, server = ends(authority)
        server.verify_mode = ssl.CERT_REQUIRED
        client.maximum_version = version
        if shown is not None:
            shown.configure_cert(client)
        said = told((client, server)) or ""
        assert "refuses this side's certificate or misses one" in said
        assert "LADLE_TLS_CERT_FILE" in said


def test_no_common_language(authority: trustme.CA) -> None:
    client, server = ends(authority)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (told((client, server)) or "").startswith("no TLS with the broker: ")


def test_a_connection_that_ends_behind_the_handshake() -> None:
    """Where an alert is lost with it; not one that nobody took, nor one's own giving up."""

    def said(error: BaseException) -> str | None:
        return greeting_trouble(wrapped(error), BROKER)

    for end in (ConnectionResetError(), EOFError(), StopAsyncIteration(), CancelledError()):
        assert "LADLE_TLS_CERT_FILE" in (said(end) or "")
    late = TimeoutError()
    late.__cause__ = CancelledError()
    for other in (ConnectionRefusedError(), late, OSError("no such host")):
        assert said(other) is None
