"""What a person is told when something is missing: which thing, and what to do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from yarl import URL

from ladle.commands.app import app
from ladle.commands.guard import EXTRAS, extra_of, require
from ladle.commands.ports import reachable
from tests.commands.conftest import Ladle

ASKING = [
    ("allocate", "x"),
    ("extend", "x", "--peers", "3"),
    ("move", "x", "--if-generation", "1", "--reason", "r"),
    ("release", "x", "--allocation", "a"),
    ("drain", "s"),
    ("undrain", "s"),
    ("lookup", "x"),
    ("view",),
    ("rooms",),
    ("explain", "x"),
    ("top", "--once"),
]
AT_THE_BROKER = [
    ("broker", "declare"),
    ("broker", "check"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "x"),
    ("dead-letters", "requeue", "--all"),
]


@pytest.mark.parametrize("arguments", [*ASKING, *AT_THE_BROKER], ids=" ".join)
def test_an_unreachable_broker_is_3_with_advice(nowhere: Ladle, arguments: tuple[str, ...]) -> None:
    said = nowhere(*arguments)
    assert (said.code, said.out) == (3, "")
    assert "127.0.0.1:9" in said.err or "Connect call failed" in said.err
    assert "LADLE_AMQP_URL" in said.err.partition("try: ")[2]
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [("view",), ("broker", "check")], ids=" ".join)
def test_the_same_as_an_object(nowhere: Ladle, arguments: tuple[str, ...]) -> None:
    said = nowhere(*arguments, "--json")
    assert said.code == 3
    assert said.json()["status"] == "error"
    assert said.json()["error"]["code"] == "unreachable"
    assert "LADLE_AMQP_URL" in said.json()["error"]["advice"]


@pytest.mark.parametrize(
    "url", ["amqp://u:secret@127.0.0.1:99999/", "amqp://u:secret@h:abc/", "amqp://[::1", "amqp://"]
)
@pytest.mark.parametrize("arguments", [("view",), ("doctor",), ("placement",), ("up",)])
def test_a_url_without_host_or_port_is_2_and_tells_no_password(
    arguments: tuple[str, ...], url: str
) -> None:
    said = Ladle()(*arguments, LADLE_AMQP_URL=url)
    assert said.code == 2
    assert "LADLE_AMQP_URL: names no host and port" in said.err
    assert "secret" not in said.err + said.out


def test_up_does_not_take_another_program_for_its_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = Ladle()("up", "--duration", "1", LADLE_HTTP_PORT=str(port))
    assert said.code == 2
    assert f"LADLE_HTTP_PORT: cannot listen on 127.0.0.1:{port}" in said.err
    assert "try: " in said.err


@pytest.mark.parametrize(
    ("host", "where"),
    [
        (None, "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::", "127.0.0.1"),
        ("::1", "[::1]"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_a_service_is_asked_where_it_listens(host: str | None, where: str) -> None:
    assert reachable(host) == where


@pytest.mark.broker
@pytest.mark.parametrize("arguments", [("view",), ("broker", "check"), ("dead-letters", "list")])
def test_a_virtual_host_that_is_not_there_is_named_as_the_reason(
    arguments: tuple[str, ...], broker_url: str
) -> None:
    said = Ladle()(*arguments, LADLE_AMQP_URL=str(URL(broker_url).with_path("/nosuch")))
    assert said.code == 3
    assert "does not open the virtual host" in said.err
    assert "object at 0x" not in said.err


@pytest.mark.parametrize(
    "arguments", [*ASKING, *AT_THE_BROKER, ("doctor",), ("placement",), ("up",)]
)
def test_a_bad_setting_is_2_and_named(arguments: tuple[str, ...]) -> None:
    said = Ladle()(*arguments, LADLE_AMQP_URL="http://example.org")
    assert said.code == 2
    assert "LADLE_AMQP_URL: must begin with amqp:// or amqps://" in said.err
    assert "docs/configuration.md" in said.err


def test_what_is_measured_is_measured_without_tls(nowhere: Ladle) -> None:
    said = nowhere("bench", "rpc", "--json", LADLE_AMQP_URL="amqps://127.0.0.1:9/")
    assert (said.code, said.json()["error"]["code"]) == (2, "usage")
    assert "LADLE_AMQP_URL: bench measures over amqp://" in said.err


@pytest.mark.parametrize(
    "arguments", [*ASKING, *AT_THE_BROKER, ("placement",), ("fleet",), ("audit", "verify")]
)
def test_a_certificate_s_file_that_cannot_be_used_is_named(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no certificate")
    source = ("--source", "amqps://127.0.0.1:9/") if arguments[0] == "audit" else ()
    for file, said in ((tmp_path / "none", "No such file"), (text, "no certificate in PEM")):
        told = Ladle({"LADLE_AMQP_URL": "amqps://127.0.0.1:9/", "LADLE_TLS_CA_FILE": str(file)})(
            *arguments, *source
        )
        assert (told.code, told.out) == (2, "")
        assert "LADLE_TLS_CA_FILE: " in told.err
        assert said in told.err


def test_a_setting_out_of_its_bounds_is_named(nowhere: Ladle) -> None:
    said = nowhere("view", "--json", LADLE_REQUEST_TIMEOUT_MS="5")
    assert said.code == 2
    assert "LADLE_REQUEST_TIMEOUT_MS" in said.json()["error"]["message"]


@pytest.mark.parametrize("arguments", [("db", "upgrade"), ("up",), ("placement",)])
def test_a_database_that_none_is_ends_with_its_variable(
    nowhere: Ladle, arguments: tuple[str, ...]
) -> None:
    said = nowhere(*arguments, LADLE_DATABASE_URL="oracle://x", LADLE_HTTP="false")
    assert said.code == 2
    assert "LADLE_DATABASE_URL" in said.err
    assert "Traceback" not in said.err


def test_a_cell_without_a_service(ladle: Ladle) -> None:
    undeclared = ladle("view", "--json")
    assert undeclared.code == 3
    assert undeclared.json()["error"]["code"] == "service-absent"
    assert ladle("dead-letters", "list").code == 3

    lacking = ladle("broker", "check", "--json")
    assert lacking.code == 1
    assert lacking.json()["missing"] == lacking.json()["names"]
    assert "lacks" in ladle("broker", "check").out

    declared = ladle("broker", "declare", "--json")
    assert declared.code == 0
    assert declared.json()["missing"] == []
    assert ladle("broker", "declare").code == 0, "harmless to repeat"
    whole = ladle("broker", "check")
    assert whole.code == 0
    assert "are there" in whole.out

    unanswered = ladle("lookup", "x")
    assert unanswered.code == 3
    assert "ladle doctor" in unanswered.err
    ill = ladle("doctor", "--json")
    assert ill.code == 1
    states = {finding["what"]: finding for finding in ill.json()["findings"]}
    assert states["topology"]["state"] == "ok"
    assert states["database"]["state"] == "bad"
    assert "ladle db upgrade" in states["database"]["advice"]
    assert states["service"]["state"] == "bad"


def test_the_doctor_without_a_broker(nowhere: Ladle, tmp_path: object) -> None:
    said = nowhere("doctor", LADLE_DATABASE_URL=f"sqlite:///{tmp_path}/none.db", COLUMNS="80")
    assert said.code == 1
    assert "bad" in said.out
    assert "LADLE_AMQP_URL" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_schema_is_made_once(nowhere: Ladle, tmp_path: object) -> None:
    database = f"sqlite:///{tmp_path}/ladle.db"
    made = nowhere("db", "upgrade", "--json", LADLE_DATABASE_URL=database)
    assert made.code == 0
    assert made.json()["before"] is None
    again = nowhere("db", "upgrade", LADLE_DATABASE_URL=database)
    assert again.out == f"already at version {made.json()['after']}\n"
    closed = nowhere("db", "upgrade", LADLE_DATABASE_URL="sqlite:////proc/none/ladle.db")
    assert closed.code == 3
    assert "LADLE_DATABASE_URL" in closed.err


WITHOUT = """
import sys
blocked = set(sys.argv[1].split(","))
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
sys.argv[:] = ["ladle", *sys.argv[2:]]
from ladle.cli import main
main()
"""


def without(extra: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`ladle ARGUMENTS` where the modules of an extra are not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, ",".join(EXTRAS[extra]), *arguments],
        env={**os.environ, "LADLE_AMQP_URL": "amqp://127.0.0.1:9/", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("view",), ("placement",)])
def test_the_light_install_names_the_extra_of_the_command_line(arguments: tuple[str, ...]) -> None:
    said = without("cli", *arguments)
    assert said.returncode == 2
    assert "pip install 'ladle[cli]'" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("placement",),
        ("up",),
        ("up", "--json"),
        ("doctor",),
        ("db", "upgrade"),
        ("bench", "decide"),
    ],
    ids=" ".join,
)
def test_a_command_without_its_extra_names_it(arguments: tuple[str, ...]) -> None:
    said = without("service", *arguments)
    assert said.returncode == 2, said.stderr
    assert "pip install 'ladle[service]'" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("arguments", [("view",), ("fleet", "--duration", "1")], ids=" ".join)
def test_what_needs_no_service_runs_without_it(arguments: tuple[str, ...]) -> None:
    said = without("service", *arguments)
    assert said.returncode == 3, "it got as far as the broker"
    assert "LADLE_AMQP_URL" in said.stderr


def test_postgresql_names_its_extra() -> None:
    said = without("postgres", "db", "upgrade", LADLE_DATABASE_URL="postgresql://127.0.0.1:9/x")
    assert said.returncode == 2
    assert "ladle[postgres]" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_defect_is_no_missing_extra() -> None:
    assert extra_of("ladle.core.nonsense") is None
    assert extra_of("sqlalchemy.ext.asyncio") == "service"
    require("service")


def test_help_is_there_for_everything() -> None:
    assert app.info.help
    said = Ladle()("--help", COLUMNS="80")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert Ladle()("--version").out.startswith("ladle ")
