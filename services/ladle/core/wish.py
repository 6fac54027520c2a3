"""What a placement has to satisfy, as the request and the room that it is about say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ladle.core import load

if TYPE_CHECKING:
    from ladle.core.rows import Room


class Wish(NamedTuple):
    """`peers`, of whom `publishers` send `streams` each, somewhere that passes the rest.

    regions: ordered; empty: any. require: no other region will do. server_id: only this server.
    """

    peers: int
    publishers: int
    streams: int
    regions: tuple[str, ...] = ()
    require: bool = False
    labels: Mapping[str, str] | None = None
    server_id: str | None = None
    avoid: frozenset[str] = frozenset()

    @property
    def cost(self) -> int:
        """Consumers to reserve."""
        return load.cost(self.peers, self.publishers, self.streams)

    def largest_room(self, headroom: int) -> int:
        """The most peers of such a room that `headroom` carries, never more than wished for."""
        publishers = None if self.publishers == self.peers else self.publishers
        return min(self.peers, load.largest_room(headroom, publishers, self.streams))

    def for_people(self) -> dict[str, Any]:
        """What was wished for, as a decision records it; what was not is left out."""
        told: dict[str, Any] = {
            "peers": self.peers,
            "publishers": self.publishers,
            "streams": self.streams,
            "cost": self.cost,
        }
        if self.regions:
            told["regions"] = list(self.regions)
            told["region_mode"] = "require" if self.require else "prefer"
        if self.labels:
            told["labels"] = dict(self.labels)
        if self.server_id is not None:
            told["server_id"] = self.server_id
        if self.avoid:
            told["avoid"] = sorted(self.avoid)
        return told


def to_allocate(body: Mapping[str, Any], room: "Room | None") -> Wish:
    """From the body of `allocate`. `room`: the home that it loses; its peers come along."""
    publishers = body["publishers"]
    wish = Wish(
        peers=body["peers"],
        publishers=body["peers"] if publishers is None else publishers,
        streams=body["streams_per_publisher"],
        regions=tuple(body["regions"]),
        require=body["region_mode"] == "require",
        labels=body["labels"],
        server_id=body["server_id"],
        avoid=frozenset(body["avoid"]),
    )
    if room is not None and room.reserved > wish.cost:
        return _as_large_as(room, wish)
    return wish


def to_move(body: Mapping[str, Any], room: "Room", home: frozenset[str]) -> Wish:
    """From the body of `move`: what the room was placed for, and no server of `home`."""
    wishes = orjson.loads(room.wishes)
    wish = Wish(
        peers=0,
        publishers=0,
        streams=0,
        regions=tuple(wishes.get("regions", ())),
        require=wishes.get("region_mode") == "require",
        labels=wishes.get("labels"),
        avoid=frozenset(body["avoid"]) | home,
    )
    return _as_large_as(room, wish)


def to_extend(body: Mapping[str, Any], room: "Room") -> Wish:
    """From the body of `extend`: `peers` is absolute, and the largest ever asked for wins.

    Its regions are for routers that the room would get; the one that it has stays where it is.
    Source: docs/adr/0015-regions-of-an-extension.md.
    """
    peers = max(room.peers, body["peers"])
    publishers = body["publishers"]
    if publishers is None:
        # Who said nothing means everybody, unless the room was asked for with fewer who send.
        publishers = peers if room.publishers >= room.peers else room.publishers
    regions = tuple(body["regions"])
    return Wish(peers, max(room.publishers, publishers), room.streams, regions)


def _as_large_as(room: "Room", wish: Wish) -> Wish:
    return wish._replace(peers=room.peers, publishers=room.publishers, streams=room.streams)
