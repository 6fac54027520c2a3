"""`ladle broker definitions` and `check --users`, as a person runs them, on a real broker."""

import json
import secrets
from pathlib import Path

import pytest

from ladle.broker.node import PrivateNode
from tests.commands.conftest import Ladle

NAMED = ("--placement", "ladle", "--media-server", "sfu-1", "--backend", "meetings")


@pytest.mark.broker
@pytest.mark.slow
def test_what_is_made_is_imported_and_checked(private_broker: PrivateNode, tmp_path: Path) -> None:
    vhost = f"users-{secrets.token_hex(4)}"
    url = f"amqp://guest:guest@127.0.0.1:{private_broker.port}/{vhost}"
    ladle = Ladle({"LADLE_AMQP_URL": url, "LADLE_CELL": "eu"})
    users, file = tmp_path / "users.json", tmp_path / "definitions.json"
    made = ladle("broker", "definitions", "--users", str(users), *NAMED)
    assert made.code == 0, made.err
    file.write_text(made.out, encoding="utf-8")
    private_broker.ctl("import_definitions", str(file))
    try:
        good = ladle("broker", "check", "--users", str(users))
        assert (good.code, "all as meant" in good.out) == (0, True), good.out
        for part in ("ladle", "sfu-1", "meetings", "ask for a room"):
            assert part in good.out
        said = ladle("broker", "check", "--users", str(users), "--json").json()
        assert (said["cell"], said["differences"]) == ("eu", 0)
        # The file says that the backend is an operator; the broker has not been told.
        known = json.loads(users.read_text(encoding="utf-8"))
        known["meetings"]["role"] = "operator"
        users.write_text(json.dumps(known), encoding="utf-8")
        bad = ladle("broker", "check", "--users", str(users), "--json")
        assert bad.code == 1
        wrong = [
            (user["name"], cell["action"])
            for user in bad.json()["users"]
            for cell in user["tried"]
            if not cell["as_meant"]
        ]
        assert wrong == [("meetings", "drain a server")]
        assert "1 differ" in ladle("broker", "check", "--users", str(users)).out
    finally:
        private_broker.ctl("delete_vhost", vhost)
        for name in ("ladle", "sfu-1", "meetings"):
            private_broker.ctl("delete_user", name)


def test_definitions_again_keep_the_passwords(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    assert Ladle()("broker", "definitions", "--users", str(users), *NAMED).code == 0
    before = users.read_bytes()
    assert Ladle()("broker", "definitions", "--users", str(users), "--json").code == 0
    assert users.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("definitions",), "there are no users"),
        (("definitions", "--backend", "A"), "must match"),
        (("definitions", "--backend", "a", "--auditor", "a"), "both backend and auditor"),
        (("check",), "does not exist"),
    ],
    ids=str,
)
def test_a_usage_error_is_2_and_says_what(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    command, *rest = arguments
    refused = Ladle()("broker", command, "--users", str(tmp_path / "users.json"), *rest)
    assert (refused.code, said in refused.err) == (2, True), refused.err
