"""A made-up address of direct reply-to closes RabbitMQ 3.10's connection: not the service's."""

import asyncio

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ConnectionInternalError

from ladle.broker.fast import FastLink
from ladle.broker.plain import FastStreamLink
from ladle_contracts.amqp import AioPikaLink
from ladle_contracts.link import DIRECT_REPLY_TO, Link, LinkState, Outgoing
from ladle_contracts.reply_addresses import direct_reply_address
from tests.fixtures.proxy import proxied

from .conftest import Inbox, MakeLink, States, eventually

pytestmark = pytest.mark.broker

NOWHERE = direct_reply_address("reply@1234", 7)


@pytest.fixture(params=["faststream", "fast"])
def kind(request: pytest.FixtureRequest) -> str:
    """The links that answer callers."""
    return str(request.param)


@pytest.fixture
async def fails_over_made_up_nodes(broker_url: str) -> bool:
    """Does an answer to a node that is not there close the connection of who answers?"""
    connection = await aiormq.connect(broker_url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        await channel.basic_publish(b"", routing_key=NOWHERE)
    except (ConnectionInternalError, asyncio.CancelledError):
        return True
    finally:
        await connection.close()
    return False


async def asked(server: Link, requests: Inbox, queue: str, caller: Link, nth: int) -> str:
    """Let the caller ask; the address that its request carries."""
    await caller.publish(Outgoing("", queue, b"?", reply_to=DIRECT_REPLY_TO))
    (*_, request) = await requests.until(nth)
    server.ack([request])
    assert request.reply_to
    return request.reply_to


async def test_an_answer_to_no_node_costs_nobody_else_theirs(
    make_link: MakeLink, broker_url: str, queue: str, fails_over_made_up_nodes: bool
) -> None:
    """RabbitMQ 4 drops such an answer by itself: there, nothing is to be kept from it."""
    states, requests, replies = States(), Inbox(), Inbox()
    server = await make_link(states=states)
    assert isinstance(server, FastLink | FastStreamLink)
    await server.consume(queue, requests, prefetch=10)
    caller = AioPikaLink(broker_url, name="caller")
    await caller.open()
    try:
        await caller.listen_for_replies(replies)
        for round_ in range(3):
            address = await asked(server, requests, queue, caller, round_ + 1)
            server.send([Outgoing("", NOWHERE, b"lost"), Outgoing("", address, b"%d" % round_)])
            server.send([Outgoing("", NOWHERE, b"lost")])
            await replies.until(round_ + 1)
        await eventually(lambda: server._reply_nodes.dropped == 6 * fails_over_made_up_nodes)
        assert replies.bodies == [b"0", b"1", b"2"]
        assert states.seen == [LinkState.UP]
    finally:
        await caller.close()


async def test_a_node_is_asked_about_again_after_the_connection_was_lost(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    """It may have been lost because the node stopped."""
    states, requests, replies = States(), Inbox(), Inbox()
    caller = AioPikaLink(broker_url, name="caller")
    await caller.open()
    async with proxied(broker_url) as (proxy, url):
        server = await make_link(url, states=states)
        assert isinstance(server, FastLink | FastStreamLink)
        try:
            await caller.listen_for_replies(replies)
            await server.consume(queue, requests, prefetch=10)
            address = await asked(server, requests, queue, caller, 1)
            server.send([Outgoing("", address, b"before")])
            await replies.until(1)
            assert server._reply_nodes.pass_on([Outgoing("", address, b"")])
            proxy.reset()
            await eventually(lambda: not server.is_up)
            await eventually(lambda: server.is_up)
            assert not server._reply_nodes.pass_on([Outgoing("", address, b"after")])
            await replies.until(2)
            assert replies.bodies == [b"before", b"after"]
        finally:
            await caller.close()
            await server.close()


async def test_a_link_that_closes_still_gives_its_first_answer(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    """The question is acked: nobody else would answer it."""
    requests, replies = Inbox(), Inbox()
    server = await make_link()
    await server.consume(queue, requests, prefetch=10)
    caller = AioPikaLink(broker_url, name="caller")
    await caller.open()
    try:
        await caller.listen_for_replies(replies)
        address = await asked(server, requests, queue, caller, 1)
        server.send([Outgoing("", address, b"first and last")])
        await server.close()
        await replies.until(1)
    finally:
        await caller.close()


async def test_many_made_up_nodes_keep_no_caller_from_being_answered(
    make_link: MakeLink, broker_url: str, queue: str
) -> None:
    states, requests, replies = States(), Inbox(), Inbox()
    server = await make_link(states=states)
    assert isinstance(server, FastLink | FastStreamLink)
    await server.consume(queue, requests, prefetch=10)
    caller = AioPikaLink(broker_url, name="caller")
    await caller.open()
    try:
        await caller.listen_for_replies(replies)
        address = await asked(server, requests, queue, caller, 1)
        made_up = [
            Outgoing("", direct_reply_address(f"reply@{number}", 7), b"lost")
            for number in range(500)
        ]
        server.send(made_up[:250])
        async with asyncio.timeout(120):
            while not replies.messages:
                # A caller asks again; each answer has its chance among those that wait.
                server.send([*made_up[250:], Outgoing("", address, b"heard")])
                await asyncio.sleep(0.2)
        assert len(server._reply_nodes._nodes) <= 64
        assert states.seen == [LinkState.UP]
    finally:
        await caller.close()


async def test_an_unreachable_broker_is_asked_again(
    make_link: MakeLink, broker_url: str, queue: str, channel: AbstractChannel
) -> None:
    """Where the question gets no answer, the answers wait."""
    requests, replies = Inbox(), Inbox()
    caller = AioPikaLink(broker_url, name="caller")
    await caller.open()
    async with proxied(broker_url) as (proxy, url):
        server = await make_link(url)
        try:
            await caller.listen_for_replies(replies)
            await server.consume(queue, requests, prefetch=10)
            address = await asked(server, requests, queue, caller, 1)
            await proxy.refuse()
            server.send([Outgoing("", address, b"late")])
            await asyncio.sleep(0.3)
            assert replies.messages == []
            await proxy.accept()
            await replies.until(1)
        finally:
            await caller.close()
            await server.close()
