"""Settings of the two ends: what is accepted, what is refused, what TLS comes of it."""

import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from ladle_contracts.settings import ClientSettings
from ladle_contracts.tls import TlsFileError
from tests.fixtures.certificates import encrypted


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AMQP_URL", "CELL", "REQUEST_TIMEOUT_MS"):
        monkeypatch.delenv(f"LADLE_{name}", raising=False)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    mine = authority.issue_cert("backend")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.issue_cert("other").private_key_pem.write_to_path(tmp_path / "other_key.pem")
    (tmp_path / "locked_key.pem").write_bytes(encrypted(mine.private_key_pem.bytes(), "hunter2"))
    names = ("ca", "cert", "key", "other_key", "locked_key")
    return {name: str(tmp_path / f"{name}.pem") for name in names}


def test_without_an_environment_it_is_the_broker_next_door() -> None:
    settings = ClientSettings()
    assert settings.url == "amqp://guest:guest@127.0.0.1:5672/"
    assert (settings.cell, settings.request_timeout_ms) == ("default", 15_000)
    assert settings.ssl_context() is None


def test_the_environment_is_read_and_the_password_does_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LADLE_AMQP_URL", "amqp://backend:hush@broker/")
    monkeypatch.setenv("LADLE_CELL", "eu")
    monkeypatch.setenv("LADLE_REQUEST_TIMEOUT_MS", "2000")
    settings = ClientSettings()
    assert settings.url == "amqp://backend:hush@broker/"
    assert (settings.cell, settings.request_timeout_ms) == ("eu", 2_000)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("AMQP_URL", "http://broker/", "must begin with amqp://"),
        ("CELL", "Not A Cell", "cell"),
        ("REQUEST_TIMEOUT_MS", "1", "request_timeout_ms"),
        ("TLS_KEY_FILE", "key.pem", "needs tls_cert_file"),
        ("TLS_CA_FILE", "ca.pem", "must begin with amqps://"),
        ("TLS_CERT_FILE", "cert.pem", "must begin with amqps://"),
        ("TLS_LOGIN", "true", "tls_login: needs tls_cert_file"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LADLE_{name}", value)
    with pytest.raises(ValidationError, match=complaint):
        ClientSettings()


def test_tls_trusts_the_given_authority_and_checks_names(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADLE_AMQP_URL", "amqps://broker/")
    monkeypatch.setenv("LADLE_TLS_CA_FILE", files["ca"])
    context = ClientSettings().ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_of_one_s_own(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADLE_AMQP_URL", "amqps://broker/")
    monkeypatch.setenv("LADLE_TLS_CERT_FILE", files["cert"])
    monkeypatch.setenv("LADLE_TLS_KEY_FILE", files["key"])
    monkeypatch.setenv("LADLE_TLS_KEY_PASSWORD", "ignored: the key has none")
    assert ClientSettings().ssl_context() is not None
    monkeypatch.setenv("LADLE_TLS_KEY_FILE", files["ca"])
    monkeypatch.delenv("LADLE_TLS_KEY_PASSWORD")
    with pytest.raises(TlsFileError, match=r"LADLE_TLS_CERT_FILE: .*, the certificate first"):
        ClientSettings().ssl_context()
    monkeypatch.setenv("LADLE_TLS_KEY_FILE", files["other_key"])
    with pytest.raises(TlsFileError, match=r"LADLE_TLS_KEY_FILE: .* is not the key of"):
        ClientSettings().ssl_context()
    # Nobody is asked on the terminal.
    monkeypatch.setenv("LADLE_TLS_KEY_FILE", files["locked_key"])
    with pytest.raises(TlsFileError, match="has a password needs LADLE_TLS_KEY_PASSWORD"):
        ClientSettings().ssl_context()
    monkeypatch.setenv("LADLE_TLS_KEY_PASSWORD", "hunter2")
    assert ClientSettings().ssl_context() is not None


def test_a_certificate_logs_in_as_the_user_whom_the_url_names(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LADLE_TLS_CERT_FILE", files["cert"])
    monkeypatch.setenv("LADLE_TLS_KEY_FILE", files["key"])
    monkeypatch.setenv("LADLE_AMQP_URL", "amqps://backend@broker/a%2Fb?heartbeat=5")
    assert ClientSettings().url == "amqps://backend@broker/a%2Fb?heartbeat=5"
    monkeypatch.setenv("LADLE_TLS_LOGIN", "true")
    assert ClientSettings().url == "amqps://backend@broker/a%2Fb?heartbeat=5&auth=external"
    monkeypatch.setenv("LADLE_AMQP_URL", "amqps://broker/")
    with pytest.raises(ValidationError, match="must name the certificate's user"):
        ClientSettings()


def test_verification_can_be_given_up_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADLE_AMQP_URL", "amqps://broker/")
    monkeypatch.setenv("LADLE_TLS_VERIFY", "false")
    context = ClientSettings().ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE
