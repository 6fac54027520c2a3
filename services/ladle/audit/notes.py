"""Signed notes: a few lines of text and who signed them, as a file that anybody can keep.

The format is C2SP's (signed-note, Ed25519): the text, an empty line, then one line a signature,
`— name base64(key id | signature)`. The key id is the beginning of SHA-256(name, newline, 1, public
key). Keys are written as Go's note package writes them, so that its tools read these.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
DASH = "\u2014 "
NOTE_BYTES_MAX = 64 * 1024
NAME = re.compile(r"[^\s+\u0000-\u001f]{1,128}")


class BadKey(Exception):
    """The text is none of the keys that sign or verify notes."""


class BadNote(Exception):
    """The text is no signed note, or a signature on it is false."""


class NotSigned(BadNote):
    """The note is one, and none of the given keys has signed it."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half: `name+key id in hex+base64(1 | public key)`."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Raises BadKey, also where the key id is not that of name and key."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise BadKey("a verifier key is name+id+key")
        name, shown_id, encoded = parts
        key = cls(_name(name), _ed25519(encoded))
        if key.key_id.hex() != shown_id:
            raise BadKey(f"the id {shown_id!r} is not that of this name and key")
        return key

    @property
    def key_id(self) -> bytes:
        named = self.name.encode() + b"\n" + ED25519 + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public)}"

    def accepts(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half: `PRIVATE+KEY+name+key id in hex+base64(1 | seed)`."""

    name: str
    seed: bytes

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """A new key; raises BadKey for a name with white space or a plus in it."""
        return cls(_name(name), os.urandom(32))

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Raises BadKey; its message never holds the key."""
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise BadKey("a signing key begins with PRIVATE+KEY+")
        key = cls(_name(parts[2]), _ed25519(parts[4]))
        if key.verifier.key_id.hex() != parts[3]:
            raise BadKey("the id in the signing key is not that of its name and key")
        return key

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self._private().public_key().public_bytes_raw())

    def write(self, path: Path) -> None:
        """To a new file that its owner alone may read; FileExistsError, OSError."""
        text = f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{text}{_base64(ED25519 + self.seed)}\n")

    def sign(self, text: str) -> str:
        """The note: `text`, which ends in a newline, and this key's signature."""
        if not text.endswith("\n") or "\n\n" in text:
            raise ValueError("a note's text ends in a newline and has no empty line")
        signature = self.verifier.key_id + self._private().sign(text.encode())
        return f"{text}\n{DASH}{self.name} {_base64(signature)}\n"

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"  # never the seed

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def open_note(note: str, keys: Sequence[VerifierKey]) -> str:
    """The text of a note that at least one of the keys has signed.

    Signatures by others are passed over; one that claims to be of a known key and is false makes
    the whole note bad. Raises BadNote, NotSigned.
    """
    text, empty, signatures = note.rpartition("\n\n")
    if len(note.encode()) > NOTE_BYTES_MAX or not empty or not signatures.endswith("\n"):
        raise BadNote("not a signed note: it has no signature lines behind an empty line")
    text += "\n"
    known = {(key.name, key.key_id): key for key in keys}
    signed = False
    for line in signatures[:-1].split("\n"):
        name, key_id, signature = _signature(line)
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.accepts(text, signature):
            raise BadNote(f"the signature of {name} is false: the note was changed")
        signed = True
    if not signed:
        names = ", ".join(sorted(key.name for key in keys)) or "nobody"
        raise NotSigned(f"no signature of {names} is on it")
    return text


def _signature(line: str) -> tuple[str, bytes, bytes]:
    """(name, key id, signature) of a signature line."""
    name, space, encoded = line.removeprefix(DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not line.startswith(DASH) or not space or not name or len(raw) < 5:
        raise BadNote(f"not a signature line: {line[:80]!r}")
    return name, raw[:4], raw[4:]


def _name(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise BadKey("a key's name has 1 to 128 characters, no white space and no plus")
    return name


def _ed25519(encoded: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadKey("the key is not base64") from error
    if len(raw) != 33 or raw[:1] != ED25519:
        raise BadKey("the key is not an Ed25519 key")
    return raw[1:]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
