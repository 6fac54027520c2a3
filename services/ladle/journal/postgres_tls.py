"""TLS to PostgreSQL: the parameters of `LADLE_DATABASE_URL` are libpq's, and are checked first."""

import os
from collections.abc import Mapping
from pathlib import Path

from ladle_contracts.tls import TlsFileError, TlsNames, readable, show_certificate, trusting

POSTGRES = TlsNames(
    peer="PostgreSQL",
    address="LADLE_DATABASE_URL",
    authority="sslrootcert in LADLE_DATABASE_URL",
    certificate="sslcert in LADLE_DATABASE_URL",
    key="sslkey in LADLE_DATABASE_URL",
    password="sslpassword",  # noqa: S106 -- the name of the parameter
)

SECRETS = ("password", "sslpassword")
"""Parameters that nobody is shown."""

CHECKING = {"require", "verify-ca", "verify-full"}
"""The values of `sslmode` at which the driver looks at `sslrootcert` at all."""


def check_tls(query: Mapping[str, str]) -> bool:
    """Check that the files that the URL's parameters name can be used, and will be.

    The driver would name neither file nor parameter. Whether there is no connection without TLS.
    Raises TlsFileError.
    """
    mode = query.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
    root, certificate, key = (_path(query, name) for name in ("sslrootcert", "sslcert", "sslkey"))
    if root is not None:
        if mode not in CHECKING:
            raise TlsFileError(
                f"{POSTGRES.authority} is looked at with sslmode=verify-full, and not with {mode}"
            )
        trusting(POSTGRES, root)
    if certificate is not None and key is None:
        # The key may be in the same file, or where libpq looks for it.
        readable(POSTGRES.certificate, certificate)
    elif certificate is not None:
        show_certificate(
            trusting(POSTGRES, root), POSTGRES, certificate, key, query.get("sslpassword", "")
        )
    return mode in CHECKING


def _path(query: Mapping[str, str], name: str) -> Path | None:
    return Path(query[name]) if query.get(name) else None
