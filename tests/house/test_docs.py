"""The documentation says what is there: files, names, settings, commands, decisions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ladle.broker.dead_letters import DELIVERY_LIMIT_REASON
from ladle.core.words import Administration, Liveness, Phase
from ladle_contracts.commands import COMMANDS
from ladle_contracts.events import EVENTS, ServerDescription
from ladle_contracts.own_events import OWN_EVENTS
from ladle_contracts.replies import ErrorCode
from ladle_contracts.requests import OPERATIONS, Read
from ladle_contracts.topology import Topology
from ladle_contracts.violation import Reason
from tests.house.sources import ROOT, tracked_files

DOCS = ROOT / "docs"
# Where the pages' relative paths begin.
BASES = [ROOT, ROOT / "contracts/ladle_contracts", ROOT / "services/ladle"]
SPOKEN_OF = re.compile(r"`([A-Za-z0-9_.][A-Za-z0-9_./-]*)`")
ENDINGS = r"\.(py|json|yaml|toml|txt|sh|svg|md|conf)$"
FILE = re.compile(rf"{ENDINGS}|^(tests|contracts|services|deploy)/|/$")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def words_of(text: str) -> set[str]:
    """All that stands in backticks or in code blocks, cut at what no name contains."""
    return set(re.findall(r"[a-z][a-z0-9_-]*(?:\.[a-z<][a-z0-9_<>-]*)*", text))


@pytest.mark.parametrize("name", ["architecture.md", "contract.md", "running.md"])
def test_the_files_that_a_page_names_exist(name: str) -> None:
    named = {word for word in SPOKEN_OF.findall(page(name)) if FILE.search(word)}
    named -= {".run/"}  # made by a run
    assert named
    assert {word for word in named if not any((base / word).exists() for base in BASES)} == set()


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_the_tests_that_a_page_names_exist(path: Path) -> None:
    named = {word for word in SPOKEN_OF.findall(path.read_text()) if word.startswith("tests/")}
    assert {word for word in named if not (ROOT / word).exists()} == set()


def test_the_contract_page_names_all_that_crosses_the_wire() -> None:
    words = words_of(page("contract.md"))
    names = Topology("default").declarations()
    wanted = {exchange.name for exchange in names.exchanges}
    wanted |= {queue.name for queue in names.queues}
    wanted |= {*EVENTS, *OPERATIONS, *COMMANDS, *OWN_EVENTS}
    wanted |= {str(code) for code in ErrorCode} | {str(reason) for reason in Reason}
    wanted |= {DELIVERY_LIMIT_REASON, "no-reply-to", "reply-not-allowed", "wrong-identity"}
    wanted |= {"incarnation-ahead", "sequence-ahead"}
    assert wanted - words == set()


def test_the_contract_page_names_every_field() -> None:
    words = words_of(page("contract.md"))
    models = [*EVENTS.values(), *OPERATIONS.values(), *COMMANDS.values(), ServerDescription, Read]
    fields = {f"{model.__name__}.{name}" for model in models for name in model.model_fields}
    assert {field for field in fields if field.partition(".")[2] not in words} == set()


def test_the_glossary_has_the_words_of_the_view() -> None:
    words = words_of(page("glossary.md"))
    assert {str(word) for kind in (Phase, Liveness, Administration) for word in kind} <= words


def test_the_table_of_settings_is_that_of_the_classes() -> None:
    """Where this fails: python tools/settings_table.py."""
    done = subprocess.run(
        [sys.executable, "tools/settings_table.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_every_variable_in_the_sources_is_documented() -> None:
    documented = page("configuration.md")
    used = {
        name: path
        for path in tracked_files()
        if path.suffix in {".py", ".sh", ".yaml"} or path.name in {"Makefile", "Dockerfile", "run"}
        for name in re.findall(r"\bLADLE_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert {name: str(path) for name, path in used.items() if f"`{name}`" not in documented} == {}


def test_every_decision_is_listed() -> None:
    """docs/adr/index.md names each page of the folder, and no other."""
    decisions = {path.name for path in (DOCS / "adr").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([^)]+\.md)\)", page("adr/index.md"))) == decisions


def test_every_page_is_in_the_navigation() -> None:
    def pages(entries: list[object]) -> set[str]:
        found: set[str] = set()
        for entry in entries:
            for target in entry.values() if isinstance(entry, dict) else [entry]:
                found |= pages(target) if isinstance(target, list) else {str(target)}
        return found

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    titles = [title for entry in navigation for title in entry]
    assert sorted(titles) == sorted(set(titles))
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    single_decisions = {name for name in written if Path(name).parent.name == "adr"}
    assert written - pages(navigation) - single_decisions == set()
    assert pages(navigation) - written == set()


def test_the_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []
