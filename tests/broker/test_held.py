"""Answers given while the connection that publishes is away and the one that consumes is not."""

import asyncio
from typing import cast

import pytest
from aiormq.abc import AbstractChannel

from ladle.broker.fast import FastLink
from ladle.broker.held import Held
from ladle_contracts.link import Message, Outgoing

from .conftest import Inbox, MakeLink, eventually, fill, left_in


def reply(body: bytes) -> Outgoing:
    return Outgoing("", "reply.queue", body)


def test_the_oldest_are_dropped_where_there_are_too_many() -> None:
    held = Held(10)
    assert held.add([reply(b"aaaa"), reply(b"bbbb")]) == 0
    assert held.add([reply(b"cccc"), reply(b"d")]) == 1
    assert [message.body for message in held.take()] == [b"bbbb", b"cccc", b"d"]
    assert not held
    assert held.add([reply(b"eeeeeeeeee")]) == 0, "nothing taken counts any more"


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["fast"])
async def test_an_answer_is_not_lost_with_the_connection_that_publishes(
    make_link: MakeLink, queue: str, channel: AbstractChannel
) -> None:
    """It is acked on the other connection, so nobody would be asked again."""
    link = cast(FastLink, await make_link())
    inbox = Inbox()

    def answer(messages: list[Message]) -> None:
        inbox(messages)
        link.send([Outgoing("", "reply.held", message.body) for message in messages])
        link.ack(messages)

    await channel.queue_declare("reply.held", auto_delete=True)
    await link.consume(queue, answer, prefetch=10)
    assert link._out.wire is not None
    assert link._out.wire._socket is not None
    link._out.wire._socket.abort()
    await asyncio.sleep(0)
    await fill(channel, queue, [b"a", b"b", b"c"])
    await inbox.until(3)
    await eventually(lambda: link.is_up)
    answered: list[bytes] = []
    async with asyncio.timeout(10):
        while len(answered) < 3:
            answered += await left_in(channel, "reply.held")
            await asyncio.sleep(0.02)
    assert sorted(answered) == [b"a", b"b", b"c"]
    assert link.dropped == 0
