"""Places where nothing can be written are named with the option or setting that led there."""

from pathlib import Path

import pytest

from ladle.commands.places import trouble_with
from tests.commands.conftest import Ladle

NOWHERE = ("/proc/x", "FILE/deeper", "FILE")


def place(tmp_path: Path, name: str) -> Path:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    return Path(name.replace("FILE", str(tmp_path / "file")))


@pytest.mark.parametrize("name", NOWHERE)
def test_a_folder_that_cannot_be_is_2_and_its_option(
    nowhere: Ladle, tmp_path: Path, name: str
) -> None:
    folder = str(place(tmp_path, name))
    archive = ("--checkpoint", "none", "--key", "none")
    for arguments in (
        ("up", "--state", folder),
        ("chaos", "--folder", folder),
        ("db", "archive", "--to", folder, *archive),
    ):
        said = nowhere(*arguments, LADLE_DATABASE_URL=f"sqlite:///{tmp_path}/ladle.db")
        assert said.code == 2, arguments
        assert f"{arguments[-2 if arguments[0] != 'db' else 2]}: " in said.err
        assert "try: " in said.err


@pytest.mark.parametrize("name", ["/proc/x/users.json", "FILE/users.json", "FOLDER"])
def test_a_file_of_users_that_cannot_be(nowhere: Ladle, tmp_path: Path, name: str) -> None:
    file = str(place(tmp_path, name.replace("FOLDER", str(tmp_path))))
    for arguments in (("definitions", "--placement", "ladle", "--users"), ("check", "--users")):
        said = nowhere("broker", *arguments, file)
        assert said.code == 2
        assert "--users: " in said.err
        assert "try: " in said.err


@pytest.mark.parametrize("name", ["/proc/x/y.db", "FILE/x.db", "FOLDER"])
def test_a_database_s_file_that_cannot_be(nowhere: Ladle, tmp_path: Path, name: str) -> None:
    file = place(tmp_path, name.replace("FOLDER", str(tmp_path)))
    url = f"sqlite:///{file}"
    for arguments in (("db", "upgrade"), ("db", "snapshot"), ("placement",)):
        said = nowhere(*arguments, LADLE_DATABASE_URL=url)
        assert said.code == 3
        assert "LADLE_DATABASE_URL" in said.err.splitlines()[0]
    found = nowhere("doctor", "--json", LADLE_DATABASE_URL=url).json()["findings"]
    database = next(each for each in found if each["what"] == "database")
    assert database["state"] == "bad"
    assert "db upgrade" not in database["advice"], "it cannot help there"


def test_what_can_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "ladle.db").touch()
    for name in ("ladle.db", "new.db", "new/deep/ladle.db"):
        assert trouble_with(tmp_path / name) is None
