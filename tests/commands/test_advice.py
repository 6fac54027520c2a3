"""What is advised has to help in that very case: wrong advice costs more than none."""

import socket

import pytest
from yarl import URL

from ladle.broker.node import PrivateNode
from ladle.commands import asking
from ladle.commands.advice import broker_advice
from ladle_contracts.errors import ERRORS, Unavailable
from tests.commands.conftest import Ladle, Said

EACH = [("view",), ("broker", "check"), ("broker", "declare"), ("dead-letters", "list")]


def advice_of(said: Said) -> str:
    """The last line, which says what to do."""
    return said.err.splitlines()[-1].partition("try: ")[2]


@pytest.mark.broker
@pytest.mark.parametrize("arguments", [*EACH, ("fleet", "--duration", "1"), ("up",)], ids=" ".join)
def test_a_wrong_password_is_no_broker_that_is_down(
    arguments: tuple[str, ...], broker_url: str
) -> None:
    said = Ladle()(*arguments, LADLE_AMQP_URL=str(URL(broker_url).with_password("wrong")))
    assert said.code == 3
    # `up` ends with what it stops.
    assert "try: check the user and the password in LADLE_AMQP_URL" in said.err


@pytest.mark.broker
@pytest.mark.parametrize("arguments", EACH, ids=" ".join)
def test_a_virtual_host_that_is_not_there(arguments: tuple[str, ...], broker_url: str) -> None:
    said = Ladle()(*arguments, LADLE_AMQP_URL=str(URL(broker_url).with_path("/nosuch")))
    assert "rabbitmqctl list_vhosts" in advice_of(said)


@pytest.mark.broker
@pytest.mark.slow
def test_who_may_not_is_told_of_rights(private_broker: PrivateNode, ladle: Ladle) -> None:
    assert ladle("broker", "declare").code == 0
    private_broker.ctl("add_user", "nobody", "pw")
    try:
        private_broker.ctl("set_permissions", "nobody", "^$", "^$", "^$")
        url = f"amqp://nobody:pw@127.0.0.1:{private_broker.port}/"
        for arguments in (("view",), ("broker", "declare"), ("dead-letters", "list")):
            said = ladle(*arguments, LADLE_AMQP_URL=url)
            assert said.code in (1, 3)
            assert "docs/security.md" in advice_of(said), arguments
    finally:
        private_broker.ctl("delete_user", "nobody")


def test_a_database_that_is_down(nowhere: Ladle) -> None:
    url = "postgresql://u:p@127.0.0.1:9/x"
    for arguments in (("db", "upgrade"), ("db", "snapshot"), ("placement",)):
        said = nowhere(*arguments, LADLE_DATABASE_URL=url)
        assert said.code == 3
        assert "LADLE_DATABASE_URL" in advice_of(said), arguments


@pytest.mark.broker
def test_a_port_that_is_taken(ladle: Ladle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        taken = Ladle({**ladle.environment, "LADLE_HTTP_PORT": port}).started("placement")
        _, err = taken.communicate(timeout=60)
    assert taken.returncode == 3
    assert "LADLE_HTTP_PORT" in err.splitlines()[-1].partition("try: ")[2]


def test_each_refusal_says_what_to_do() -> None:
    for code, kind in ERRORS.items():
        assert asking._meaning(kind("why"))[1], code
    beyond = Unavailable("the journal ends at offset 4, before 7")
    assert "an offset that the journal has" in asking._meaning(beyond)[1]


def test_what_the_broker_says_leads_to_what_helps() -> None:
    for said, helps in (
        ("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN", "password"),
        ("ACCESS_REFUSED - access to queue 'x' refused for user 'y'", "docs/security.md"),
        ("NOT_FOUND - no exchange 'x' in vhost '/'", "ladle broker declare"),
        ("queue x: PRECONDITION_FAILED - inequivalent arg", "delete_queue"),
        ("the broker did not answer within 30 s", "wait"),
        ("[Errno 111] Connect call failed", "LADLE_AMQP_URL"),
    ):
        assert helps in broker_advice(said)
