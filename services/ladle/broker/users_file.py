"""The private file of the broker's users: role, servers, password. Made up, kept, hashed here."""

import base64
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ladle.broker.roles import Role, User, checked_user

HASHING = "rabbit_password_hashing_sha256"
SALT_BYTES = 4

Passwords = dict[User, str]


class BadUsersFile(ValueError):
    """The file of users cannot be used; the message says what to do."""


def hashed(password: str, salt: bytes | None = None) -> str:
    """What RabbitMQ keeps of a password: base64 of salt and SHA-256 of salt and password."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    digest = hashlib.sha256(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def read(path: Path) -> Passwords:
    """User -> password, in the file's order. Raises BadUsersFile, FileNotFoundError."""
    try:
        # The file that is read is the one whose mode is looked at.
        with path.open(encoding="utf-8") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            text = file.read()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsersFile(f"{path}: {error}") from error
    if others:
        raise BadUsersFile(f"{path} can be read by others: chmod 600 {path}")
    try:
        found = json.loads(text)
        return dict(_user(name, fields) for name, fields in _pairs(found))
    except ValueError as error:
        raise BadUsersFile(f"{path}: {error}") from error


def together(known: Passwords, added: Iterable[User]) -> Passwords:
    """`known` and `added`; a user who is in both keeps the password, and is as `added` says."""
    passwords = {user.name: password for user, password in known.items()}
    users = {user.name: user for user in [*known, *added]}
    return {user: passwords.get(name) or secrets.token_urlsafe(24) for name, user in users.items()}


def write(path: Path, users: Mapping[User, str]) -> None:
    """Replace the file in one step; nobody else can read it at any moment. Raises BadUsersFile."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    document = {user.name: _fields(user, password) for user, password in users.items()}
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadUsersFile(f"{path}: {error}") from error


def _pairs(found: Any) -> list[tuple[str, Any]]:
    if not isinstance(found, dict):
        raise BadUsersFile('must be a JSON object: {"NAME": {"role": ..., "password": ...}}')
    return list(found.items())


def _user(name: str, fields: Any) -> tuple[User, str]:
    if not isinstance(fields, dict):
        raise BadUsersFile(f"{name!r} must be an object with role and password")
    roles = ", ".join(Role)
    if fields.get("role") not in list(Role):
        raise ValueError(f"{name!r}: role must be one of {roles}")
    password, servers = fields.get("password"), fields.get("servers", [])
    if not isinstance(password, str) or not password:
        raise ValueError(f"{name!r}: password must be a text that is not empty")
    if not isinstance(servers, list) or not all(isinstance(server, str) for server in servers):
        raise ValueError(f"{name!r}: servers must be a list of server ids")
    return checked_user(name, Role(fields["role"]), servers), password


def _fields(user: User, password: str) -> dict[str, Any]:
    servers = {"servers": list(user.servers)} if user.servers else {}
    return {"role": user.role.value, **servers, "password": password}
