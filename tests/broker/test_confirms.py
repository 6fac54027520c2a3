"""The broker's words about publishes, in every order that it may say them."""

import asyncio

import pytest

from ladle.broker.confirms import Confirms
from ladle_contracts.link import OutcomeUnknown, Outgoing, Refused, Unroutable


def message(exchange: str = "events", *, mandatory: bool = True) -> Outgoing:
    return Outgoing(exchange, "key", b"", mandatory=mandatory)


def kinds(outcomes: list[asyncio.Future[None]]) -> list[object]:
    return [
        type(outcome.exception()) if outcome.done() and outcome.exception() else outcome.done()
        for outcome in outcomes
    ]


async def test_one_word_for_many() -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(), f"{number}") for number in range(5)]
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(outcomes) == [True, True, True, False, False]
    confirms.settled(5, multiple=False, accepted=False)
    assert kinds(outcomes) == [True, True, True, False, Refused]
    confirms.settled(5, multiple=True, accepted=True)
    assert kinds(outcomes) == [True, True, True, True, Refused]
    confirms.settled(9, multiple=False, accepted=True)
    assert len(confirms) == 0


async def test_a_return_is_told_when_its_number_is_settled() -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(), f"{number}") for number in range(3)]
    confirms.returned("1", "events", "key", "312 NO_ROUTE")
    assert kinds(outcomes) == [False, False, False]
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(outcomes) == [True, Unroutable, True]


async def test_the_same_id_twice_in_flight_is_told_apart_by_its_order() -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(name), "same") for name in ("a", "b", "b")]
    confirms.returned("same", "b", "key", "312 NO_ROUTE")
    confirms.returned("same", "b", "key", "312 NO_ROUTE")
    confirms.returned("same", "b", "key", "one too many")
    confirms.returned("other", "a", "key", "of nobody")
    confirms.settled(3, multiple=True, accepted=True)
    assert kinds(outcomes) == [True, Unroutable, Unroutable]


async def test_a_channel_closed_over_an_exchange_refuses_those_meant_for_it() -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(name), None) for name in ("a", "b", "a")]
    confirms.closed("404 NOT_FOUND - no exchange 'b' in vhost '/'", 404)
    assert kinds(outcomes) == [OutcomeUnknown, Refused, OutcomeUnknown]


@pytest.mark.parametrize(("code", "kind"), [(406, Refused), (0, OutcomeUnknown)])
async def test_one_alone_knows_that_it_was_meant(code: int, kind: type[Exception]) -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(), None)]
    confirms.closed("over", code)
    assert kinds(outcomes) == [kind]


async def test_who_gave_up_is_left_alone() -> None:
    confirms = Confirms()
    outcomes = [confirms.begin(message(), f"{number}") for number in range(3)]
    outcomes[0].cancel()
    outcomes[1].cancel()
    await asyncio.sleep(0)
    confirms.settled(1, multiple=False, accepted=False)
    confirms.closed("gone")
    assert outcomes[0].cancelled()
    assert outcomes[1].cancelled()
    assert kinds(outcomes[2:]) == [OutcomeUnknown]
    assert confirms.outcomes() == []
