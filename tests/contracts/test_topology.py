"""Names and declarations of a cell."""

import pytest

from ladle_contracts.reply_addresses import direct_reply_address
from ladle_contracts.requests import READS, WRITES
from ladle_contracts.topology import (
    Binding,
    Exchange,
    Queue,
    Topology,
    is_reply_address,
    reply_queue,
    subscriber_queue,
)


def queue(topology: Topology, name: str) -> Queue:
    (found,) = (queue for queue in topology.declarations().queues if queue.name == name)
    return found


def bindings_of(topology: Topology, name: str) -> set[tuple[str, str]]:
    every = topology.declarations().bindings
    return {(binding.exchange, binding.key) for binding in every if binding.queue == name}


def test_the_default_cell_has_bare_names() -> None:
    declared = Topology().declarations()
    assert [exchange.name for exchange in declared.exchanges] == [
        "media.events",
        "placement.unrouted",
        "placement.requests",
        "placement.events",
        "media.commands",
        "media.answers",
        "placement.dead",
    ]
    assert [queue.name for queue in declared.queues] == [
        "placement.inbox",
        "placement.requests",
        "placement.queries",
        "placement.answers",
        "placement.log",
        "placement.dead-letters",
    ]


def test_every_name_of_another_cell_carries_it() -> None:
    topology = Topology("eu")
    declared = topology.declarations()
    named: list[Exchange | Queue] = [*declared.exchanges, *declared.queues]
    names = [one.name for one in named]
    for binding in declared.bindings:
        names += [binding.exchange, binding.queue]
    for one in named:
        arguments = dict(one.arguments)
        names += [
            str(arguments[key])
            for key in ("alternate-exchange", "x-dead-letter-exchange")
            if key in arguments
        ]
    assert all(name.startswith("eu.") for name in names)
    assert topology.command_queue("sfu-eu-1") == "eu.media.commands.sfu-eu-1"
    assert topology.own_source == "/ladle/eu"


def test_exchanges_are_durable_topics_but_for_the_unrouted() -> None:
    for exchange in Topology().declarations().exchanges:
        is_unrouted = exchange.name == "placement.unrouted"
        assert exchange.kind == ("fanout" if is_unrouted else "topic")
        assert exchange.durable
    assert Exchange(
        "placement.requests", "topic", {"alternate-exchange": "placement.unrouted"}
    ) in (Topology().declarations().exchanges)


def test_queues_are_of_the_kinds_of_the_contract() -> None:
    kinds = {queue.name: queue.kind for queue in Topology().declarations().queues}
    assert kinds == {
        "placement.inbox": "quorum",
        "placement.requests": "classic",
        "placement.queries": "classic",
        "placement.answers": "classic",
        "placement.log": "stream",
        "placement.dead-letters": "quorum",
    }
    assert all(queue.durable for queue in Topology().declarations().queues)


def test_the_inbox_gives_up_into_the_dead_letters() -> None:
    assert dict(queue(Topology(), "placement.inbox").arguments) == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 100,
        "x-dead-letter-exchange": "placement.dead",
    }


def test_the_log_is_bounded_by_age_and_size() -> None:
    arguments = queue(Topology(), "placement.log").arguments
    assert arguments["x-max-age"] == "7D"
    segments = int(arguments["x-max-length-bytes"]) / int(
        arguments["x-stream-max-segment-size-bytes"]
    )
    assert segments >= 10  # Only whole segments are dropped.


def test_dead_letters_are_bounded_and_survive_being_looked_at() -> None:
    arguments = queue(Topology(), "placement.dead-letters").arguments
    assert arguments["x-overflow"] == "drop-head"
    assert 0 < int(arguments["x-max-length"]) <= 100_000
    assert int(arguments["x-delivery-limit"]) >= 1_000_000
    assert "x-dead-letter-exchange" not in arguments


def test_requests_are_replicated_by_setting() -> None:
    topology = Topology(quorum_requests=True)
    assert dict(queue(topology, "placement.requests").arguments) == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 100,
    }
    assert queue(topology, "placement.queries").kind == "classic"


def test_what_is_bound_where() -> None:
    topology = Topology()
    assert bindings_of(topology, "placement.inbox") == {("media.events", "#")}
    assert bindings_of(topology, "placement.requests") == {
        ("placement.requests", name) for name in WRITES
    }
    assert bindings_of(topology, "placement.queries") == {
        ("placement.requests", name) for name in READS
    } | {("placement.unrouted", "")}
    assert bindings_of(topology, "placement.answers") == {("media.answers", "#")}
    assert bindings_of(topology, "placement.log") == {
        ("media.events", "#"),
        ("placement.events", "#"),
    }
    assert bindings_of(topology, "placement.dead-letters") == {("placement.dead", "#")}


def test_every_binding_is_between_what_is_declared() -> None:
    declared = Topology("eu").declarations()
    exchanges = {exchange.name for exchange in declared.exchanges}
    queues = {queue.name for queue in declared.queues}
    for binding in declared.bindings:
        assert binding.exchange in exchanges
        assert binding.queue in queues
    assert {binding.queue for binding in declared.bindings} == queues


def test_a_command_queue() -> None:
    declared = Topology("eu").command_declarations("sfu-eu-1")
    assert declared.exchanges == ()
    (queue,) = declared.queues
    assert queue.name == "eu.media.commands.sfu-eu-1"
    assert (queue.kind, queue.durable) == ("classic", True)
    assert queue.arguments["x-expires"] == 86_400_000
    assert declared.bindings == (Binding("eu.media.commands", queue.name, "*.sfu-eu-1"),)


def test_keys() -> None:
    assert Topology.event_key("room-created", "sfu-eu-1") == "room-created.sfu-eu-1"
    assert Topology.own_event_key("server-up", "sfu-eu-1") == "server-up.sfu-eu-1"
    assert Topology.own_event_key("capacity-low", None) == "capacity-low.-"


@pytest.mark.parametrize("name", ["", "EU", "a.b", "x" * 64, "eu\n", "#"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cell"):
        Topology(name)
    with pytest.raises(ValueError, match="server_id"):
        Topology().command_declarations(name)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (direct_reply_address("reply@80154369", 688), True),
        (reply_queue("backend-7"), True),
        ("amq.rabbitmq.reply-to", False),
        ("amq.rabbitmq.reply-to.", False),
        ("amq.rabbitmq.reply-to.a b", False),
        ("amq.rabbitmq.reply-to." + "x" * 230, False),
        ("reply.", False),
        ("reply.a|media.events", False),
        ("reply.a\n", False),
        ("placement.inbox", False),
        (subscriber_queue("backend", "all"), False),
        ("", False),
    ],
)
def test_where_replies_may_go(address: str, allowed: bool) -> None:
    assert is_reply_address(address) is allowed
