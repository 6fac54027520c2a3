"""Who speaks: the broker-checked user, or the one on whose behalf a proxy speaks."""

from dataclasses import dataclass

Pair = tuple[str, str]
"""user, server_id."""


class WrongIdentity(Exception):
    """The message's user may not speak for the server it names."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The rules of one service.

    required: refuse events whose user does not own the server.
    proxies: users whose `onbehalfof` replaces them.
    owners: who owns a server of another name; one user may own several.
    """

    required: bool = False
    proxies: frozenset[str] = frozenset()
    owners: frozenset[Pair] = frozenset()

    @classmethod
    def parse(cls, *, required: bool, proxy_users: str, server_users: str) -> "Identities":
        """From the settings' comma-separated lists; raises ValueError naming the pair."""
        return cls(required, frozenset(_listed(proxy_users)), frozenset(pairs_of(server_users)))

    def speaker(self, user: str | None, on_behalf_of: str | None) -> str:
        """Whom the message counts for, in keys, limits and ownership; empty if nobody vouches."""
        if user in self.proxies and on_behalf_of:
            return on_behalf_of
        return user or ""

    def check_server(self, user: str | None, on_behalf_of: str | None, server_id: str) -> None:
        """Raises WrongIdentity where the rules apply and are broken."""
        if not self.required:
            return
        speaker = self.speaker(user, on_behalf_of)
        if speaker == server_id or (speaker, server_id) in self.owners:
            return
        if user in self.proxies and not on_behalf_of:
            return
        raise WrongIdentity(
            f"user {speaker!r} may not speak for server {server_id!r}"
            if speaker
            else f"no broker-checked user (AMQP user_id) speaks for server {server_id!r}"
        )


def pairs_of(server_users: str) -> list[Pair]:
    """`user=server_id,...` as pairs; raises ValueError naming the one that is none."""
    pairs = []
    for text in _listed(server_users):
        user, equals, server_id = text.partition("=")
        if not (user and equals and server_id):
            raise ValueError(f"{text!r} is not user=server_id")
        pairs.append((user, server_id))
    return pairs


def checked_pairs(server_users: str) -> str:
    """The same text, once it is known to be pairs: before the lease is taken, not after."""
    pairs_of(server_users)
    return server_users


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]
