"""Who may do what, on a real broker that imported the definitions; and what the check sees."""

import asyncio
import json
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiormq
import pytest

from ladle.broker.declare import declare, declare_command_queues
from ladle.broker.definitions import definitions
from ladle.broker.node import PrivateNode
from ladle.broker.role_matrix import ACTIONS
from ladle.broker.roles import Role, User, check_users, users_of
from ladle.broker.trying import Tried, try_users
from ladle.broker.users_file import BadUsersFile, hashed, read, together, write
from ladle_contracts.topology import Topology
from tests.fixtures.roles import Imported, imported_users

CELLS_AND_BROKERS = [
    (cell, broker) for broker in ("private_broker", "other_broker") for cell in ("default", "eu")
]
NAMES = {
    Role.MEDIA_SERVER: ["sfu-1", "rack=sfu-2,sfu-3"],
    Role.GATEWAY: ["gateway=sfu-4", "any-gateway"],
    Role.BACKEND: ["meetings"],
    Role.OPERATOR: ["night-shift"],
    Role.SUBSCRIBER: ["dashboard"],
    Role.AUDITOR: ["auditor"],
    Role.PLACEMENT: ["ladle"],
    Role.ADMINISTRATOR: ["root"],
}


def everyone() -> list[User]:
    return [user for role, names in NAMES.items() for user in users_of(role, names)]


@pytest.fixture(scope="module", params=CELLS_AND_BROKERS, ids="-".join)
def imported(request: pytest.FixtureRequest) -> Iterator[Imported]:
    """On the machine's own RabbitMQ, and on another one where the tests were told of it."""
    cell, broker = request.param
    node: PrivateNode = request.getfixturevalue(broker)
    with imported_users(node, Topology(cell), everyone(), node.base) as made:
        yield made


def not_as_meant(found: dict[User, list[Tried]]) -> list[tuple[str, str, bool, bool | None, str]]:
    return [
        (user.name, cell.action, cell.meant, cell.may, cell.detail)
        for user, cells in found.items()
        for cell in cells
        if not cell.as_meant
    ]


@pytest.mark.broker
@pytest.mark.slow
class TestOnABroker:
    async def test_every_cell_is_as_meant(self, imported: Imported) -> None:
        found = await try_users(imported.url, imported.topology, imported.users)
        assert not_as_meant(found) == []
        assert {len(cells) for cells in found.values()} == {len(ACTIONS)}

    async def test_the_placement_user_declares_the_cell_as_it_was_imported(
        self, imported: Imported
    ) -> None:
        await declare(imported.url_of(Role.PLACEMENT), imported.topology)
        await declare_command_queues(imported.url_of(Role.PLACEMENT), imported.topology, ["sfu-1"])

    async def test_trying_leaves_no_trace(self, imported: Imported) -> None:
        await try_users(imported.url, imported.topology, imported.users)
        connection = await aiormq.connect(imported.url_of(Role.ADMINISTRATOR))
        try:
            channel = await connection.channel()
            for queue in imported.topology.declarations().queues:
                there = await channel.queue_declare(queue.name, passive=True)
                assert (there.message_count, there.consumer_count) == (0, 0), queue.name
        finally:
            await connection.close()

    async def test_a_right_too_many_and_a_wrong_password_are_seen(self, imported: Imported) -> None:
        """As a broker that was told more than the definitions say, or is asked with an old file."""
        backend = next(user for user in imported.users if user.role is Role.BACKEND)
        auditor = next(user for user in imported.users if user.role is Role.AUDITOR)
        # An administrator whom the file calls a backend: it may do what no backend should.
        root = next(user for user in imported.users if user.role is Role.ADMINISTRATOR)
        taken = replace(root, role=Role.BACKEND)
        found = await try_users(
            imported.url,
            imported.topology,
            {taken: imported.users[root], backend: imported.users[backend], auditor: "wrong"},
        )
        wrong = {cell.action for cell in found[taken] if not cell.as_meant}
        assert {"drain a server", "read the log", "say an event of its server"} <= wrong
        assert "ask for a room" not in wrong
        assert all(cell.as_meant for cell in found[backend])
        assert {cell.may for cell in found[auditor]} == {None}
        assert not any(cell.as_meant for cell in found[auditor])

    async def test_users_are_tried_by_password_whatever_else_comes_by_certificate(
        self, imported: Imported
    ) -> None:
        backend = next(user for user in imported.users if user.role is Role.BACKEND)
        url = f"{imported.url}?auth=external"
        tried = {backend: imported.users[backend]}
        assert not_as_meant(await try_users(url, imported.topology, tried)) == []

    async def test_a_subscription_that_nobody_reads_is_bounded(self, imported: Imported) -> None:
        said = await asyncio.to_thread(
            imported.node.ctl, "list_policies", "--vhost", imported.vhost, "--formatter", "json"
        )
        (policy,) = json.loads(said)
        assert json.loads(policy["definition"])["overflow"] == "drop-head"


def test_a_hash_is_what_rabbitmq_documents() -> None:
    """The worked example of RabbitMQ's page on passwords: test12, salt 908DC60A."""
    assert hashed("test12", bytes.fromhex("908DC60A")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


def test_two_hashes_of_one_password_differ() -> None:
    assert hashed("same") != hashed("same")


def test_the_definitions_hold_no_password() -> None:
    users = together({}, everyone())
    text = json.dumps(definitions(Topology(), users))
    assert [password for password in users.values() if password in text] == []


def test_what_is_written_is_read_again_and_private(tmp_path: Path) -> None:
    path, users = tmp_path / "users.json", together({}, everyone())
    write(path, users)
    assert read(path) == users
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_user_who_is_added_again_keeps_the_password() -> None:
    known = together({}, users_of(Role.GATEWAY, ["gateway=sfu-1"]))
    (again,) = users_of(Role.GATEWAY, ["gateway=sfu-1", "gateway=sfu-2"])
    assert together(known, [again]) == {again: next(iter(known.values()))}
    assert again.servers == ("sfu-1", "sfu-2")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    write(path, together({}, everyone()))
    path.chmod(0o640)
    with pytest.raises(BadUsersFile, match="chmod 600"):
        read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a JSON object"),
        ("{", "users.json"),
        ('{"a": 1}', "'a' must be an object"),
        ('{"a": {"role": "king", "password": "x"}}', "role must be one of media-server"),
        ('{"a": {"role": "backend", "password": ""}}', "password must be"),
        ('{"a": {"role": "backend", "password": "x", "servers": ["b"]}}', "speaks for no server"),
        ('{"a": {"role": "gateway", "password": "x", "servers": 1}}', "a list of server ids"),
        ('{"a.*": {"role": "backend", "password": "x"}}', "must match"),
        ('{"a": {"role": "gateway", "password": "x", "servers": ["b|c"]}}', "must match"),
    ],
)
def test_a_bad_file_says_what_is_bad(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(BadUsersFile, match=said):
        read(path)


@pytest.mark.parametrize("named", ["meetings=sfu-1", "Meetings", "a|b", ""])
def test_a_bad_name_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match=r"speaks for no server|must match"):
        users_of(Role.BACKEND, [named])


def test_one_name_with_two_roles_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' is both backend and auditor"):
        check_users([*users_of(Role.BACKEND, ["a"]), *users_of(Role.AUDITOR, ["a"])])
