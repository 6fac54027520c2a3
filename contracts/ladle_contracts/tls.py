"""TLS for people: files that cannot be used, handshakes that failed, and the setting to change.

OpenSSL names neither: its errors say "PEM lib" of a file, and a number of a certificate.
"""

import ssl
from asyncio import CancelledError
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class TlsFileError(OSError):
    """A file that a TLS setting names cannot be used; nothing was connected."""


@dataclass(frozen=True, slots=True)
class TlsNames:
    """Who is at the other end, and what the settings of a connection to it are called."""

    peer: str
    address: str
    authority: str
    certificate: str
    key: str
    password: str


BROKER = TlsNames(
    peer="the broker",
    address="LADLE_AMQP_URL",
    authority="LADLE_TLS_CA_FILE",
    certificate="LADLE_TLS_CERT_FILE",
    key="LADLE_TLS_KEY_FILE",
    password="LADLE_TLS_KEY_PASSWORD",  # noqa: S106 -- the name of the setting
)

# What OpenSSL's verification ended with (X509_V_ERR_...).
_TOO_EARLY, _EXPIRED = 9, 10
_OTHER_NAME = {62, 64}
_NO_AUTHORITY = {2, 18, 19, 20, 21}

_OF_CERTIFICATES = (
    *("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR"),
    "HANDSHAKE_FAILURE",  # as TLS 1.2 misses a certificate
)
"""In the name of an alert: the other side does not like what it was shown, or misses it."""


_ENDS = (ConnectionResetError, BrokenPipeError, EOFError, StopAsyncIteration, CancelledError)
"""How a library takes the end of a connection; aiormq cancels who waits for it."""


def trusting(names: TlsNames, authority: Path | None) -> ssl.SSLContext:
    """A context that checks certificate and name; the system's authorities where none is given.

    Raises TlsFileError.
    """
    if authority is not None:
        readable(names.authority, authority)
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        raise TlsFileError(
            f"{names.authority}: no certificate in PEM form in {authority}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def show_certificate(
    context: ssl.SSLContext,
    names: TlsNames,
    certificate: Path,
    key: Path | None = None,
    password: str = "",
) -> None:
    """Let `context` show a certificate, with those between it and its root. Raises TlsFileError."""
    readable(names.certificate, certificate)
    if key is not None:
        readable(names.key, key)
    try:
        # Called where the key has a password: without it OpenSSL asks the terminal, and waits.
        context.load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        raise TlsFileError(_why_not_shown(error, names, certificate, key)) from error


def handshake_trouble(error: BaseException, names: TlsNames) -> str | None:
    """What `error` says about TLS and what to do; None where it says nothing about it."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _why_not_trusted(cause, names)
        if isinstance(cause, ssl.SSLError):
            return _why_not_agreed(cause, names)
    return None


def greeting_trouble(error: BaseException, names: TlsNames) -> str | None:
    """The same for an error while a connection over TLS was set up, where also its end says it.

    With TLS 1.3 a client is done before its certificate was looked at, and the alert may be lost
    with the connection.
    """
    said = handshake_trouble(error, names)
    if said is None and _is_an_end(error):
        return ended_behind_the_handshake(names)
    return said


def ended_behind_the_handshake(names: TlsNames) -> str:
    """What an end of the connection means there."""
    return (
        f"{names.peer} ended the connection right behind the TLS handshake: it refuses this side's "
        f"certificate or misses one ({names.certificate}), or it is just starting"
    )


def readable(setting: str, file: Path) -> None:
    """Whether the file that a setting names can be read at all. Raises TlsFileError."""
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise TlsFileError(f"{setting}: {file}: {error.strerror}") from error


def _why_not_shown(
    error: ssl.SSLError, names: TlsNames, certificate: Path, key: Path | None
) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{names.key}: {key or certificate} is not the key of {certificate}"
    return (
        f"{names.certificate}: {certificate} with the key in {key or certificate} cannot be used: "
        "it takes PEM, the certificate first, then those between it and its root; a key that has "
        f"a password needs {names.password}"
    )


def _why_not_trusted(error: ssl.SSLCertVerificationError, names: TlsNames) -> str:
    code, said = error.verify_code, error.verify_message.rstrip(".")
    its = f"{names.peer}'s certificate"
    if code == _EXPIRED:
        return f"{its} has expired: renew it there, or set this machine's clock"
    if code == _TOO_EARLY:
        return f"{its} is not valid yet: set this machine's clock, or renew it there"
    if code in _OTHER_NAME:
        return f"{its} is for another name ({said}): name one that it holds in {names.address}"
    if code in _NO_AUTHORITY:
        return (
            f"{its} is signed by no authority that is trusted here ({said}): name the file with "
            f"its root in {names.authority}; {names.peer} has to send those between the two"
        )
    return f"{its} is refused: {said}"


def _why_not_agreed(error: ssl.SSLError, names: TlsNames) -> str:
    reason = error.reason or str(error)
    if "ALERT" in reason and any(word in reason for word in _OF_CERTIFICATES):
        return (
            f"{names.peer} refuses this side's certificate or misses one ({reason}): set "
            f"{names.certificate} to one that it trusts, with those between it and its root"
        )
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return f"{names.peer} speaks no TLS at this port ({reason}): correct {names.address}"
    return f"no TLS with {names.peer}: {reason}"


def _is_an_end(error: BaseException) -> bool:
    for cause in _causes(error):
        if isinstance(cause, TimeoutError):
            return False  # Whose cause is a cancel of one's own.
        if isinstance(cause, _ENDS):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; libraries wrap the one that says something."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
