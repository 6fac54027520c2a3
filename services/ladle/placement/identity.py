"""Who speaks: the broker-checked user, or the one on whose behalf a proxy speaks."""

from dataclasses import dataclass, field


class WrongIdentity(Exception):
    """The message's user may not speak for the server it names."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The rules of one service.

    required: refuse events whose user does not own the server.
    proxies: users whose `onbehalfof` replaces them.
    servers: user -> server id, where the two differ.
    """

    required: bool = False
    proxies: frozenset[str] = frozenset()
    servers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, *, required: bool, proxy_users: str, server_users: str) -> "Identities":
        """From the settings' comma-separated lists; raises ValueError naming the pair."""
        servers: dict[str, str] = {}
        for pair in filter(None, (p.strip() for p in server_users.split(","))):
            user, equals, server_id = pair.partition("=")
            if not (user and equals and server_id):
                raise ValueError(f"LADLE_SERVER_USERS: {pair!r} is not user=server_id")
            servers[user] = server_id
        proxies = frozenset(filter(None, (p.strip() for p in proxy_users.split(","))))
        return cls(required, proxies, servers)

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
        if speaker == server_id or self.servers.get(speaker) == server_id:
            return
        if user in self.proxies and not on_behalf_of:
            return
        raise WrongIdentity(
            f"user {speaker!r} may not speak for server {server_id!r}"
            if speaker
            else f"no broker-checked user (AMQP user_id) speaks for server {server_id!r}"
        )
