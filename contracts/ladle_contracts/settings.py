"""How both ends find their broker: environment variables LADLE_*, for programs that want them."""

import ssl
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from .fields import CellName
from .tls import BROKER, show_certificate, trusting
from .topology import DEFAULT_CELL


class ClientSettings(BaseSettings):
    """LADLE_AMQP_URL, LADLE_CELL, LADLE_REQUEST_TIMEOUT_MS and LADLE_TLS_*.

    The URL may hold a password, so it does not show in a printed object: `url` gives it.
    """

    model_config = SettingsConfigDict(env_prefix="LADLE_", frozen=True, extra="ignore")

    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        description="amqp:// or amqps:// with user, password and vhost",
    )
    cell: CellName = Field(DEFAULT_CELL, description="which of several independent Ladles")
    request_timeout_ms: int = Field(
        15_000, ge=100, le=600_000, description="a whole request with its retries"
    )
    tls_ca_file: Path | None = Field(
        None, description="PEM of the authorities to trust; the system's unless set"
    )
    tls_cert_file: Path | None = Field(None, description="PEM of this client's certificate (mTLS)")
    tls_key_file: Path | None = Field(None, description="PEM of its key, unless in the same file")
    tls_key_password: SecretStr | None = Field(None, description="of the key, where it has one")
    tls_login: bool = Field(
        False,
        description="log in with the client's certificate (SASL EXTERNAL) and not with a password; "
        "LADLE_AMQP_URL names the user that it is for",
    )
    tls_verify: bool = Field(
        True, description="check the broker's certificate and name; false only for experiments"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ClientSettings":
        given = self.amqp_url.get_secret_value()
        if not given.startswith(("amqp://", "amqps://")):
            raise ValueError("amqp_url: must begin with amqp:// or amqps://")
        if not _names_a_host(given):
            # Without the URL itself, which may hold a password.
            raise ValueError(
                "amqp_url: names no host and port; its form is amqp://user:password@host:5672/vhost"
            )
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file: needs tls_cert_file")
        if self.tls_login and self.tls_cert_file is None:
            raise ValueError("tls_login: needs tls_cert_file")
        if self.tls_login and not URL(given).user:
            # Messages carry it as `user_id`, which the broker compares with the certificate's.
            raise ValueError("amqp_url: must name the certificate's user where tls_login is true")
        if self.uses_tls or not (self.tls_ca_file or self.tls_cert_file):
            return self
        # Whoever names certificates means TLS; without it they would be ignored in silence.
        raise ValueError("amqp_url: must begin with amqps:// where tls files are given")

    @property
    def url(self) -> str:
        """The URL with its password; where the certificate logs in, with `auth=external`."""
        url = self.amqp_url.get_secret_value()
        return str(URL(url).update_query(auth="external")) if self.tls_login else url

    @property
    def uses_tls(self) -> bool:
        return self.url.startswith("amqps://")

    def ssl_context(self) -> ssl.SSLContext | None:
        """For AioPikaLink; None for amqp://. Raises TlsFileError, an OSError, with the setting."""
        if not self.uses_tls:
            return None
        context = trusting(BROKER, self.tls_ca_file)
        if not self.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.tls_cert_file is not None:
            given = self.tls_key_password
            password = given.get_secret_value() if given else ""
            show_certificate(context, BROKER, self.tls_cert_file, self.tls_key_file, password)
        return context


def _names_a_host(url: str) -> bool:
    """Whether host and port can be read from it, where the port may be the usual one."""
    try:
        return URL(url).host is not None
    except ValueError:
        return False
