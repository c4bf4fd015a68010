"""The shape of the package, held by its import graph; see docs/design.md."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wxnotify
from wxnotify import errors
from wxnotify.errors import NotifyError

from .support import SOURCE

FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
CORE = {path.removesuffix(".py") for path in FILES if "/" not in path}

# Who may import whom inside the core. `_receiver` and `__init__` may import any of it.
MAY_IMPORT = {
    "errors": set(),
    "idempotency": {"errors"},
    "_wire": {"errors"},
    "_keys": {"errors"},
    "_request": {"errors"},
    "_fields": {"errors"},
    "_headers": {"errors", "_fields"},
    "_keyed_fields": set(),
    "_events": {"errors"},
    "_resources": {"errors"},
    "_ciphers": {"errors", "_keys"},
    "_signature": {"errors", "_keyed_fields", "_keys"},
    "_decrypted": {"errors", "_ciphers", "_keyed_fields", "_keys", "_signature", "_wire"},
    "_notifications": {"errors", "_signature", "_decrypted", "_resources"},
    # One file a kind, or a family of them: what they read, and how.
    "_payments": {"errors", "_fields", "_notifications", "_resources", "_signature"},
    "_combined": {"errors", "_fields", "_notifications", "_payments", "_resources", "_signature"},
    "_refunds": {"errors", "_fields", "_notifications", "_decrypted", "_resources"},
    "_contracts": {"errors", "_fields", "_notifications", "_resources", "_signature"},
    "_scans": {"errors", "_fields", "_keys", "_notifications", "_reply", "_signature", "_wire"},
    "_pay_after": {"errors", "_ciphers", "_decrypted", "_fields", "_keys", "_notifications", "_signature"},
    "_events_v3": {"errors", "_fields", "_notifications", "_resources"},
    "_reply": {"errors", "_wire"},
    "_checks": {"errors", "_payments"},
    "_merchants": {
        "errors",
        "_checks",
        "_headers",
        "_keys",
        "_notifications",
        "_payments",
        "_resources",
        "_signature",
    },
    "_query": {"errors", "_wire", "_signature", "_payments", "_merchants", "_keys"},
    "_flow": {"errors", "idempotency", "_notifications", "_payments", "_checks", "_events"},
    "_receiver": CORE - {"__init__"},
    "__init__": CORE - {"__init__"},
}
_KINDS = {"_payments", "_combined", "_refunds", "_contracts", "_scans", "_pay_after", "_events_v3"}
MAY_IMPORT |= {
    "_kinds": {"_keys", "_notifications", "_resources", "_signature"} | _KINDS,
    "inbox": {"errors", "idempotency", "_decrypted", "_kinds", "_notifications", "_resources", "_signature"}
    | _KINDS,
    "_authentication": {
        "errors", "_ciphers", "_decrypted", "_headers", "_kinds", "_merchants", "_notifications",
        "_reply", "_resources", "_signature", "_wire",
    },
    "_drivers": {
        "errors", "idempotency", "inbox", "_checks", "_flow", "_kinds", "_notifications", "_payments",
        "_scans",
    },
    "_report": {"errors", "_authentication", "_events", "_fields", "_flow", "_notifications", "_reply"},
    "_work": {"errors", "idempotency", "inbox", "_drivers", "_events", "_flow", "_notifications", "_report"},
}  # fmt: skip
FOLDERS = {
    "stores": {"errors", "idempotency"},
    "adapters": CORE,
    "apiv3": CORE,
    "reconcile": {"errors", "idempotency", "_fields", "_payments"},
    "testing": CORE | set(wxnotify.__all__) | {"stores.url", "cli.terminal", "apiv3"},
}
# A folder's file that may import more, and why.
BESIDES = {
    # Django's system checks look at the merchant's receiver.
    "stores/django/_configured.py": {"_receiver", "_signature", "_wire", "testing"},
}
MAX_LINES = 330
# Longer on purpose, with the lines they may have.
LONGER = {
    "errors.py": 540,  # one class a refusal, in one place
    "idempotency.py": 480,  # a contract: mostly words
    "_receiver.py": 560,  # the public pipeline, sync and async
}


def imports(path: str) -> Iterator[str]:
    """Give the modules of this package that *path* imports, as dotted names below ``wxnotify``."""
    package = ["wxnotify", *Path(path).parent.parts]
    for node in ast.walk(ast.parse((SOURCE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            # `from . import x` and `from .. import x` name modules, not their contents.
            names = [f"{origin}.{alias.name}" for alias in node.names] if not node.module else [origin]
        else:
            continue
        for name in names:
            if name == "wxnotify" or name.startswith("wxnotify."):
                yield name.removeprefix("wxnotify").removeprefix(".") or "__init__"


def third_party(path: str) -> set[str]:
    """Give the packages outside the standard library that *path* imports at its top level."""
    tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"wxnotify"}


@pytest.mark.parametrize("path", [path for path in FILES if "/" not in path])
def test_a_core_file_imports_only_what_it_may(path):
    name = path.removesuffix(".py")
    assert name in MAY_IMPORT, (
        f"{path} is new in the core: say in this table and in docs/design.md what it may import"
    )
    wrong = set(imports(path)) - MAY_IMPORT[name]
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in FILES if "/" not in path])
def test_the_core_imports_no_folder_and_nothing_but_the_standard_library(path):
    folders = {file.split("/")[0] for file in FILES if "/" in file}
    wrong = {name for name in imports(path) if name.split(".")[0] in folders}
    wrong |= third_party(path)
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", [path for path in FILES if path.split("/")[0] in FOLDERS])
def test_a_folder_imports_only_what_it_may(path):
    folder = path.split("/")[0]
    inside = {name for name in imports(path) if name.split(".")[0] == folder}
    wrong = set(imports(path)) - FOLDERS[folder] - inside - BESIDES.get(path, set())
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_short_enough_to_read(path):
    lines = len((SOURCE / path).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(path, MAX_LINES), f"{path} has {lines} lines"


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_named_for_what_it_holds(path):
    words = Path(path).with_suffix("").as_posix().replace("/", "_").lower().split("_")
    vague = {"util", "utils", "helper", "helpers", "base", "manager", "common", "misc"}
    assert not vague & set(words), f"{path} says nothing of what it holds"


@pytest.mark.parametrize("path", [path for path in FILES if "/" not in path])
def test_the_core_opens_no_socket_and_reads_no_environment(path):
    tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
    named = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {"environ", "getenv"}
    wrong = named & {"socket", "ssl", "http", "urllib", "environ", "getenv"}
    assert not wrong, f"{path} uses {sorted(wrong)}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_it_does_not_need():
    loaded = loaded_by("import wxnotify")
    assert "wxnotify._wire" in loaded
    top = {name.split(".")[0] for name in loaded}
    assert top - set(sys.stdlib_module_names) <= {"wxnotify", "defusedxml"}
    assert not top & {"asyncio", "sqlite3", "logging", "dataclasses", "inspect"}
    outside = {name for name in loaded if name.startswith("wxnotify.")} - {
        f"wxnotify.{name}" for name in CORE
    }
    assert not outside


def test_the_receiver_is_loaded_when_it_is_first_asked_for():
    assert "wxnotify._receiver" not in loaded_by("import wxnotify")
    assert "wxnotify._receiver" in loaded_by("from wxnotify import Receiver")


@pytest.mark.parametrize("name", wxnotify.__all__)
def test_every_public_name_is_there_and_in_dir(name):
    assert getattr(wxnotify, name).__doc__
    assert name in dir(wxnotify)


def test_another_name_is_missing_as_usual():
    with pytest.raises(AttributeError, match="'receiver'"):
        wxnotify.receiver  # noqa: B018


# --- errors --------------------------------------------------------------------


def refusals() -> list[type[NotifyError]]:
    # Modules whose optional package is absent have no errors of their own.
    for module in pkgutil.iter_modules([str(SOURCE)], "wxnotify."):
        if not module.ispkg:
            importlib.import_module(module.name)
    found, todo = [], [NotifyError]
    while todo:
        found.append(todo.pop())
        todo += found[-1].__subclasses__()
    return [one for one in found if one.__module__.split(".")[0] == "wxnotify"]


def test_every_refusal_has_a_code_of_its_own():
    codes = {}
    for one in refusals():
        assert "code" in vars(one), f"{one.__module__}: {one.__name__} has no code"
        assert one.code not in codes, (
            f"{one.__module__}: {one.__name__} and {codes[one.code]} share {one.code}"
        )
        codes[one.code] = one.__name__
        assert one.code.isidentifier(), f"{one.__module__}: {one.code}"
        assert one.code == one.code.lower(), f"{one.__module__}: {one.code}"


def test_every_refusal_has_a_status_that_is_no_success():
    for one in refusals():
        assert 400 <= one.status <= 599, f"{one.__module__}: {one.__name__} has status {one.status}"


def test_every_refusal_is_defined_and_exported_in_errors():
    for one in refusals():
        assert one.__module__ == "wxnotify.errors", f"{one.__module__} defines {one.__name__}"
        assert one.__name__ in errors.__all__, f"errors.py does not export {one.__name__}"


def test_every_public_name_exists_and_is_listed_once():
    for module in (wxnotify, errors, importlib.import_module("wxnotify.idempotency")):
        assert len(set(module.__all__)) == len(module.__all__), f"{module.__name__} lists a name twice"
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"{module.__name__} has no {missing}"
