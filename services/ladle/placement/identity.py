"""Who speaks: the broker-checked user, or the one on whose behalf a proxy speaks."""

from dataclasses import dataclass

Pair = tuple[str, str]
"""user, server_id."""


class WrongIdentity(Exception):
    """The message's user may not speak for the server, or the caller, it names."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The rules of one service.

    required: refuse events whose user does not own the server, and requests of nobody.
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

    def caller(self, user: str | None, on_behalf_of: str | None) -> str:
        """As `speaker`, of a request. Raises WrongIdentity where the rules apply and are broken.

        Who names another caller and is no proxy is refused, not counted for itself: the answers to
        all those callers would share one window of request ids, and one limit.
        """
        if self.required:
            if not user:
                raise WrongIdentity(
                    "no broker-checked user asks: set the AMQP property user_id to the "
                    "connection's user"
                )
            if on_behalf_of and user not in self.proxies:
                raise WrongIdentity(
                    f"user {user!r} may not ask on behalf of {on_behalf_of!r}: "
                    "LADLE_PROXY_USERS names who may"
                )
        return self.speaker(user, on_behalf_of)

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
