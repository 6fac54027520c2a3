"""Try on a live broker what a user may do, and leave no trace there.

RabbitMQ checks the right first and the form after it. Each try asks with a form that it must
refuse, so that nothing is published, read, declared or bound: 403 means no right, 406 (bad form)
or 404 (nothing of this name) means that the right was there.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    AMQPException,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from yarl import URL

from ladle.broker.connecting import TIMEOUT_S
from ladle.broker.role_matrix import (
    ACTIONS,
    Action,
    Bind,
    Consume,
    Declare,
    DeclareExchange,
    Probe,
    Publish,
    subject_of,
)
from ladle.broker.roles import User
from ladle_contracts.link import LinkDown
from ladle_contracts.tls import BROKER, handshake_trouble
from ladle_contracts.topology import Topology

NOBODY = "ladle-check: not the user of this connection"
"""As `user_id`: no broker takes it from anybody, and it is looked at after the rights."""
NO_QUEUE = ".ladle-check-no-such-queue"


@dataclass(frozen=True, slots=True)
class Tried:
    """One cell: what is meant, and what the broker did. `may` is None where it cannot be said."""

    action: str
    meant: bool
    may: bool | None
    detail: str = ""

    @property
    def as_meant(self) -> bool:
        return self.may is self.meant


async def try_users(
    url: str,
    topology: Topology,
    users: Mapping[User, str],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> dict[User, list[Tried]]:
    """Each user's column, one user after the other. Raises LinkDown.

    `url` gives host and vhost; users and passwords are those of `users`.
    """
    found = {}
    for user, password in users.items():
        # By its password, also where the settings' own user has a certificate.
        address = URL(url).without_query_params("auth").with_user(user.name).with_password(password)
        found[user] = await _column(str(address), topology, user, ssl_context)
    return found


async def _column(
    url: str, topology: Topology, user: User, ssl_context: ssl.SSLContext | None
) -> list[Tried]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            try:
                connection = await aiormq.connect(url, context=ssl_context)
            except ProbableAuthenticationError:
                return _nothing_tried(user, "the broker refuses user and password")
            try:
                channel = await connection.channel()
                tried = []
                for action in ACTIONS:
                    if channel.is_closed:
                        channel = await connection.channel()
                    tried.append(await _cell(channel, action, user, topology))
                return tried
            finally:
                await connection.close()
    except TimeoutError as late:
        raise LinkDown(f"the broker did not answer within {TIMEOUT_S:.0f} s") from late
    except (AMQPException, OSError) as error:
        said = handshake_trouble(error, BROKER) or error
        raise LinkDown(f"cannot use the broker as {user.name}: {said}") from error


def _nothing_tried(user: User, why: str) -> list[Tried]:
    return [Tried(action.name, action.is_meant(user), None, why) for action in ACTIONS]


async def _cell(channel: AbstractChannel, action: Action, user: User, topology: Topology) -> Tried:
    meant = action.is_meant(user)
    try:
        await _attempt(channel, action.probe(subject_of(user, topology)))
    except ChannelAccessRefused as error:
        return Tried(action.name, meant, may=False, detail=str(error))
    except (ChannelPreconditionFailed, ChannelNotFoundEntity):
        return Tried(action.name, meant, may=True)
    return Tried(action.name, meant, None, "the broker took what it should have found malformed")


async def _attempt(channel: AbstractChannel, probe: Probe) -> None:
    match probe:
        case Publish(exchange, key):
            await channel.basic_publish(
                b"",
                exchange=exchange,
                routing_key=key,
                properties=aiormq.spec.Basic.Properties(user_id=NOBODY),
            )
        case Consume(queue):
            await channel.basic_qos(prefetch_count=1)
            await channel.basic_consume(queue, _ignore, arguments={"x-priority": "malformed"})
        case Declare(queue):
            await channel.queue_declare(
                queue, durable=True, arguments={"x-message-ttl": "malformed"}
            )
        case DeclareExchange(exchange):
            await channel.exchange_declare(
                exchange,
                exchange_type="headers",
                durable=True,
                arguments={"alternate-exchange": 0},
            )
        case Bind(queue, exchange):
            await channel.queue_bind(queue + NO_QUEUE, exchange, "#")


async def _ignore(_: object) -> None:
    """Never called: nothing is consumed."""
