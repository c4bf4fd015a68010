"""
The documents say what is so.

That their Python runs is seen to by the conftest.py at the root, which makes a
test of every block.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wxnotify
from wxnotify import Outcome, errors
from wxnotify._events_v3 import Event

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TWIN = ROOT / "README.zh-CN.md"
CHANGELOG = ROOT / "CHANGELOG.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FOR_USERS = [README, *ROOT.glob("docs/**/*.md")]

PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```(\S*)\n.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)

# Files and folders of the repository, as a text names them.
PATH = re.compile(
    r"(?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml)"
    r"|(?:\.ci|src|tests|docs|benchmarks|adapters|stores|cli|testing)/[\w./-]*"
)
PLACES = (ROOT, ROOT / "src" / "wxnotify", ROOT / "docs")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def prose(document: Path) -> str:
    return FENCE.sub("", text(document))


def headings(document: Path) -> list[str]:
    return [heading for _, heading in HEADING.findall(prose(document))]


def levels(document: Path) -> list[int]:
    return [len(marks) for marks, _ in HEADING.findall(prose(document))]


def anchor(heading: str) -> str:
    """Make the fragment a heading is linked by, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def rows(document: Path) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")] for row in ROW.findall(text(document))]


# --- what is documented -----------------------------------------------------------


@pytest.mark.parametrize("name", wxnotify.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    code = " ".join(quoted for page in FOR_USERS for quoted in CODE.findall(prose(page)))
    assert name in re.findall(r"\w+", code)


def test_every_error_is_in_the_table_and_no_other() -> None:
    documented = {
        (cells[0].strip("`"), cells[1].strip("`"), int(cells[2]))
        for cells in rows(ROOT / "docs" / "errors.md")
        if len(cells) == 6 and cells[2].isdigit()
    }
    existing = {
        (error.code, error.__name__, error.status)
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.NotifyError)
    }
    assert documented == existing


def test_every_outcome_is_in_the_table_and_no_other() -> None:
    documented = {
        (cells[0].strip("`"), int(cells[1]), cells[2])
        for cells in rows(ROOT / "docs" / "errors.md")
        if len(cells) == 5 and cells[1].isdigit()
    }
    existing = {
        (outcome.value, outcome.status, "SUCCESS" if outcome.success else "FAIL") for outcome in Outcome
    }
    assert documented == existing


CLASSES = {
    kind.__name__: kind
    for kind in (
        wxnotify.Payment, wxnotify.Refund, wxnotify.Contract, wxnotify.PlateState, wxnotify.Scan,
        wxnotify.PayAfter, wxnotify.ProfitSharing, wxnotify.Transfer, wxnotify.PayScore, Event,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_handler_gets_is_in_the_table(name: str) -> None:
    text = (ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", text, re.MULTILINE)
    listed = set(re.findall("`([^`]+)`", row)) - {"fields"}
    assert listed == set(CLASSES[name].__slots__) - {"kind"}


def test_the_changelog_names_the_version() -> None:
    version = re.search(r'^version = "(.+)"$', text(ROOT / "pyproject.toml"), re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in text(CHANGELOG)


# --- the twins ----------------------------------------------------------------------


def test_the_chinese_readme_has_the_same_python() -> None:
    assert PYTHON.findall(text(TWIN)) == PYTHON.findall(text(README))


def test_the_chinese_readme_has_the_same_headings() -> None:
    assert levels(TWIN) == levels(README)


def test_the_chinese_readme_has_the_same_tables() -> None:
    assert [len(row) for row in rows(TWIN)] == [len(row) for row in rows(README)]


# --- what is referred to ------------------------------------------------------------


@each_document
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.is_file(), target
        if fragment:
            assert fragment in map(anchor, headings(linked)), target


@each_document
def test_paths_that_are_named_exist(document: Path) -> None:
    readers_own = set(re.findall(r"^# (\w+\.py)$", text(document) + text(README), re.MULTILINE))
    for code in CODE.findall(prose(document)):
        for path in code.split():
            # On purpose: `_file.py` and `file.py` stand for any such file; `manage.py` is a Django project's.
            if not PATH.fullmatch(path) or path in readers_own | {"_file.py", "file.py", "manage.py"}:
                continue
            assert any((place / path).exists() for place in PLACES), path


@each_document
def test_code_is_python_or_a_console(document: Path) -> None:
    """Any other kind of block would be one that nothing executes."""
    assert set(FENCE.findall(text(document))) <= {"python", "console", "sh"}
