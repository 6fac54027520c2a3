"""A backend's end of the contract: ask Ladle where a room belongs.

    async with PlacementClient.connect("amqp://backend:secret@broker/") as ladle:
        placed = await ladle.allocate("standup", peers=4)
        print(placed.server.ws_url)

See docs/client.md.
"""

import random
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from pydantic import ValidationError

from .client_calls import Calls
from .client_events import Declares, OwnEvents
from .clock import Clock, SystemClock
from .errors import InvalidRequest, Unreachable
from .link import DIRECT_REPLY_TO, Link, LinkDown
from .replies import (
    DecisionsReply,
    DrainReply,
    ExplainReply,
    HistoryReply,
    LookupReply,
    PlacedReply,
    ReleaseReply,
    Reply,
    RoomsReply,
    RoomState,
    ViewReply,
)
from .requests import (
    Allocate,
    Body,
    DecisionsQuery,
    Drain,
    Explain,
    Extend,
    HistoryQuery,
    Lookup,
    Move,
    Release,
    RoomsQuery,
    Undrain,
    ViewQuery,
)
from .topology import DEFAULT_CELL, Topology, reply_queue, subscriber_queue
from .violation import Reason, violation_of

TIMEOUT_MS = 15_000
ATTEMPTS_MAX = 3

R = TypeVar("R", bound=Reply)


class PlacementClient:
    """All operations, for any number of concurrent callers. Use as an async context manager.

    timeout_ms: for a whole call, its retries included; each method takes another. attempts_max:
    tries within that time. replies: `direct` (RabbitMQ's direct reply-to, the default) or `queue`
    (a queue `reply.<unique>` of its own). chance: draws the jitter of retries.

    Every method raises a subclass of PlacementError. `request_id` makes a write repeatable across
    calls and processes: the same id and body get the same answer for ten minutes.
    """

    def __init__(
        self,
        link: Link,
        *,
        cell: str = DEFAULT_CELL,
        timeout_ms: int = TIMEOUT_MS,
        attempts_max: int = ATTEMPTS_MAX,
        replies: Literal["direct", "queue"] = "direct",
        clock: Clock | None = None,
        user_id: str | None = None,
        on_behalf_of: str | None = None,
        chance: random.Random | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.timeout_ms = timeout_ms
        self._link = link
        self._owns_link = False
        self._topology = Topology(cell)
        self._replies = replies
        self._user_id = user_id
        self._new_id = new_id
        self._subscriptions: list[OwnEvents] = []
        self._calls = Calls(
            link,
            clock or SystemClock(),
            cell=cell,
            attempts_max=attempts_max,
            user_id=user_id,
            on_behalf_of=on_behalf_of,
            chance=chance or random.Random(),
            new_id=new_id,
        )

    @classmethod
    def connect(
        cls, url: str, *, ssl_context: ssl.SSLContext | None = None, **options: Any
    ) -> Self:
        """A client with a link of its own to `url`; options as for the class."""
        from .amqp import AioPikaLink

        link = AioPikaLink(url, name="placement client", ssl_context=ssl_context)
        options.setdefault("user_id", link.user)
        client = cls(link, **options)
        client._owns_link = True
        return client

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect and listen for replies. Raises Unreachable."""
        try:
            await self._link.open()
            if self._replies == "direct":
                await self._link.listen_for_replies(self._calls.on_replies)
            else:
                await self._listen_on_a_queue()
        except LinkDown as error:
            if self._owns_link:
                await self._link.close()
            raise Unreachable(str(error)) from error
        self._calls.attach()

    async def close(self) -> None:
        """End subscriptions and calls; those still waiting raise OutcomeUnknownError."""
        self._calls.close()
        for subscription in self._subscriptions:
            await subscription.aclose()
        if self._owns_link:
            await self._link.close()

    @property
    def late_replies(self) -> int:
        """Answers that came after their caller's time was out; they are dropped."""
        return self._calls.late_replies

    @property
    def retries(self) -> int:
        """Attempts after a first one."""
        return self._calls.retries

    # Operations that change something

    async def allocate(
        self,
        room_id: str | None = None,
        *,
        peers: int = 2,
        publishers: int | None = None,
        streams_per_publisher: int = 2,
        regions: Sequence[str] = (),
        region_mode: Literal["prefer", "require"] = "prefer",
        labels: Mapping[str, str] | None = None,
        server_id: str | None = None,
        avoid: Sequence[str] = (),
        ttl_ms: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> PlacedReply:
        """The room's home: the one it has, or a new one. Without `room_id` Ladle makes an id."""
        body = _checked(
            Allocate,
            room_id=room_id,
            peers=peers,
            publishers=publishers,
            streams_per_publisher=streams_per_publisher,
            regions=list(regions),
            region_mode=region_mode,
            labels=dict(labels or {}),
            server_id=server_id,
            avoid=list(avoid),
            ttl_ms=ttl_ms,
            metadata=dict(metadata or {}),
        )
        return await self._ask(body, PlacedReply, request_id, timeout_ms)

    async def extend(
        self,
        room_id: str,
        *,
        peers: int,
        publishers: int | None = None,
        regions: Sequence[str] = (),
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> PlacedReply:
        """Room for `peers` in all; `fits` is false where its worker cannot carry them."""
        body = _checked(
            Extend, room_id=room_id, peers=peers, publishers=publishers, regions=list(regions)
        )
        return await self._ask(body, PlacedReply, request_id, timeout_ms)

    async def move(
        self,
        room_id: str,
        *,
        if_generation: int,
        reason: str,
        avoid: Sequence[str] = (),
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> PlacedReply:
        """Another home, unless the room has moved since `if_generation` (StaleGeneration)."""
        body = _checked(
            Move, room_id=room_id, if_generation=if_generation, reason=reason, avoid=list(avoid)
        )
        return await self._ask(body, PlacedReply, request_id, timeout_ms)

    async def release(
        self,
        room_id: str,
        allocation_id: str,
        *,
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> ReleaseReply:
        """End a hold; an active room is told to close and keeps its capacity until it has."""
        body = _checked(Release, room_id=room_id, allocation_id=allocation_id)
        return await self._ask(body, ReleaseReply, request_id, timeout_ms)

    async def drain(
        self,
        server_id: str,
        *,
        reason: str | None = None,
        drain_by_ms: int | None = None,
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> DrainReply:
        """Nothing new on the server, also after its restarts, until `undrain`."""
        body = _checked(Drain, server_id=server_id, reason=reason, drain_by_ms=drain_by_ms)
        return await self._ask(body, DrainReply, request_id, timeout_ms)

    async def undrain(
        self,
        server_id: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> DrainReply:
        """New rooms on the server again."""
        body = _checked(Undrain, server_id=server_id, reason=reason)
        return await self._ask(body, DrainReply, request_id, timeout_ms)

    # Operations that read; min_offset: from a view at least that new, else Unavailable

    async def lookup(
        self, room_id: str, *, min_offset: int = 0, timeout_ms: int | None = None
    ) -> LookupReply:
        """The room's home and state; UnknownRoom where it has none."""
        body = _checked(Lookup, room_id=room_id, min_offset=min_offset)
        return await self._ask(body, LookupReply, None, timeout_ms)

    async def view(
        self,
        *,
        region: str | None = None,
        server_id: str | None = None,
        at_offset: int | None = None,
        min_offset: int = 0,
        timeout_ms: int | None = None,
    ) -> ViewReply:
        """The load view, or a part of it; `at_offset`: as it was then."""
        body = _checked(
            ViewQuery,
            region=region,
            server_id=server_id,
            at_offset=at_offset,
            min_offset=min_offset,
        )
        return await self._ask(body, ViewReply, None, timeout_ms)

    async def rooms(
        self,
        *,
        server_id: str | None = None,
        state: RoomState | None = None,
        after: str | None = None,
        limit: int = 100,
        min_offset: int = 0,
        timeout_ms: int | None = None,
    ) -> RoomsReply:
        """A page of rooms; while `more`, ask again with `after` = the last room_id."""
        body = _checked(
            RoomsQuery,
            server_id=server_id,
            state=state,
            after=after,
            limit=limit,
            min_offset=min_offset,
        )
        return await self._ask(body, RoomsReply, None, timeout_ms)

    async def decisions(
        self,
        *,
        after_offset: int = 0,
        limit: int = 100,
        room_id: str | None = None,
        server_id: str | None = None,
        min_offset: int = 0,
        timeout_ms: int | None = None,
    ) -> DecisionsReply:
        """A page of decisions; while `more`, ask again with `after_offset` = `next_offset`."""
        body = _checked(
            DecisionsQuery,
            after_offset=after_offset,
            limit=limit,
            room_id=room_id,
            server_id=server_id,
            min_offset=min_offset,
        )
        return await self._ask(body, DecisionsReply, None, timeout_ms)

    async def history(
        self,
        *,
        after_offset: int = 0,
        limit: int = 100,
        room_id: str | None = None,
        server_id: str | None = None,
        min_offset: int = 0,
        timeout_ms: int | None = None,
    ) -> HistoryReply:
        """A page of journal records; while `more`, ask again with `next_offset`."""
        body = _checked(
            HistoryQuery,
            after_offset=after_offset,
            limit=limit,
            room_id=room_id,
            server_id=server_id,
            min_offset=min_offset,
        )
        return await self._ask(body, HistoryReply, None, timeout_ms)

    async def explain(
        self,
        room_id: str,
        *,
        generation: int | None = None,
        min_offset: int = 0,
        timeout_ms: int | None = None,
    ) -> ExplainReply:
        """Why the room is where it is, in sentences and with the decision behind them."""
        body = _checked(Explain, room_id=room_id, generation=generation, min_offset=min_offset)
        return await self._ask(body, ExplainReply, None, timeout_ms)

    # Ladle's own events

    def events(self, *types: str, name: str | None = None, user: str | None = None) -> OwnEvents:
        """Ladle's own events, all of them or only of the given types.

        With `name` the subscription is kept for a day while nobody reads, and what counts are the
        types named last; without, it gathers only while this client is connected. The user needs
        the role `subscriber`.
        """
        user = user or self._user_id or str(getattr(self._link, "user", "guest"))
        subscription = OwnEvents(
            self._link,
            self._topology.cell,
            subscriber_queue(user, name or self._new_id(), self._topology.cell),
            self._topology.placement_events,
            types,
            keep=name is not None,
        )
        self._subscriptions.append(subscription)
        return subscription

    # Inside

    async def _ask(
        self, body: Body, kind: type[R], request_id: str | None, timeout_ms: int | None
    ) -> R:
        reply = await self._calls.call(
            body,
            timeout_ms=self.timeout_ms if timeout_ms is None else timeout_ms,
            request_id=request_id,
        )
        assert isinstance(reply, kind)  # decode_reply chose the model by the same operation
        return reply

    async def _listen_on_a_queue(self) -> None:
        if not isinstance(self._link, Declares):
            raise TypeError(f"{type(self._link).__name__} cannot declare reply queues")
        queue = reply_queue(self._new_id())
        await self._link.declare_reply_queue(queue)
        await self._link.consume(queue, self._calls.on_replies, prefetch=1_000, no_ack=True)
        self._calls.reply_to = queue


B = TypeVar("B", bound=Body)


def _checked(model: type[B], **fields: Any) -> B:
    """The body, or the InvalidRequest that Ladle would answer, at once and without a round trip."""
    try:
        return model(**fields)
    except ValidationError as error:
        raise InvalidRequest(violation_of(error, Reason.BAD_DATA).detail) from None


__all__ = ["ATTEMPTS_MAX", "DIRECT_REPLY_TO", "TIMEOUT_MS", "OwnEvents", "PlacementClient"]
