"""``run.py``: what it makes of its arguments. Nothing is installed here."""

from __future__ import annotations

import importlib.util
import sys
from collections import namedtuple
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "run.py"

if not FILE.exists():
    pytest.skip("run.py is not part of this tree", allow_module_level=True)


@pytest.fixture
def script(monkeypatch):
    """Load run.py with its hands tied: commands are noted and not run, and nothing is prepared."""
    spec = importlib.util.spec_from_file_location("run_script", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []
    module.codes = []

    def run(command, **options):
        module.commands.append([str(part) for part in command][1:])
        return module.codes.pop(0) if module.codes else 0

    monkeypatch.setattr(module, "run", run)
    return module


@pytest.fixture
def prepared(script, monkeypatch):
    monkeypatch.setattr(script, "prepare", lambda command: None)
    return script


def test_demo_passes_its_arguments_on(prepared):
    assert prepared.main(["demo", "--keep", "--port", "1234"]) == 0
    assert prepared.commands == [["-m", "wxnotify.cli", "demo", "--keep", "--port", "1234"]]


def test_test_runs_the_suite_and_then_the_coverage_gate(prepared):
    assert prepared.main(["test"]) == 0
    assert prepared.commands == [["-m", "coverage", "run", "-m", "pytest"], ["-m", "coverage", "report"]]


def test_test_with_arguments_is_pytest_with_them(prepared):
    assert prepared.main(["test", "-x", "tests/test_wire.py"]) == 0
    assert prepared.commands == [["-m", "pytest", "-x", "tests/test_wire.py"]]


@pytest.mark.parametrize(("codes", "expected"), [([1], 1), ([5], 5), ([0, 2], 2)])
def test_exit_codes_come_through(prepared, codes, expected):
    prepared.codes.extend(codes)
    assert prepared.main(["test"]) == expected
    assert len(prepared.commands) == len(codes)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--keep"]])
def test_anything_else_shows_what_there_is(prepared, arguments, capsys):
    assert prepared.main(arguments) == 2
    assert "python run.py demo" in capsys.readouterr().err
    assert prepared.commands == []


def test_help_is_a_success(prepared, capsys):
    assert prepared.main(["--help"]) == 0
    assert "python run.py test" in capsys.readouterr().out


def test_an_old_python_is_told_so(prepared, monkeypatch, capsys):
    version = namedtuple("version", "major minor micro")(3, 9, 18)
    monkeypatch.setattr(sys, "version_info", version)
    assert prepared.main(["demo"]) == 2
    assert "3.10 or newer" in capsys.readouterr().err


def test_it_installs_again_only_when_the_project_file_changed(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(script, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(script.shutil, "which", lambda name: None)
    (tmp_path / "python").touch()
    (tmp_path / "pyproject.toml").write_text("one")

    def installs() -> int:
        script.commands.clear()
        script.prepare("test")
        return sum("install" in command for command in script.commands)

    assert installs() == 2  # pip itself, and the project
    assert installs() == 0
    (tmp_path / "pyproject.toml").write_text("two")
    assert installs() == 2


def test_a_failed_installation_is_said_and_not_remembered(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(script.shutil, "which", lambda name: None)
    script.codes.extend([0, 1])
    assert script.main(["demo"]) == 2
    assert "could not prepare" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_uv_is_used_where_it_is_and_pip_where_it_fails(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(script, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(script.shutil, "which", lambda name: "/bin/uv")
    script.prepare("demo")
    assert [command[0] for command in script.commands] == ["venv", "pip"]
    (tmp_path / "installed-for-demo").unlink()
    script.commands.clear()
    script.codes.extend([1])
    script.prepare("demo")
    assert [command[:2] for command in script.commands[1:]] == [["-m", "venv"], ["-m", "pip"]]
