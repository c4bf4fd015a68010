"""The chaos run: short ones that must hold, and ones with a mistake in the store that must be found out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from wxnotify.errors import ConfigurationError
from wxnotify.testing.chaos.command import main
from wxnotify.testing.chaos.effects import Record
from wxnotify.testing.chaos.verdict import explain

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
CHAOS = [sys.executable, "-m", "wxnotify.testing.chaos"]
SECONDS = 3.0
PASSWORD = "hunter2-do-not-show"


def chaos(*arguments: str, seconds: float = SECONDS) -> list[str]:
    return [*CHAOS, "--minutes", str(seconds / 60), *arguments]


def run(tmp_path: Path, *arguments: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Run it to its end; give the summary, with the exit code and what was printed."""
    file = tmp_path / "summary.json"
    ended = subprocess.run(
        chaos(*arguments, "--json", str(file), seconds=seconds), capture_output=True, text=True, timeout=300
    )
    said = ended.stdout + ended.stderr
    if "is not installed" in said:
        # Not the server's tests' skip: that one wants a server that runs, this one its programs.
        pytest.skip(said.strip())
    assert file.exists(), said
    return {**json.loads(file.read_text()), "exit": ended.returncode, "said": said}


def check_it_held(summary: dict[str, Any]) -> None:
    assert summary["exit"] == 0, summary["said"]
    assert summary["held"] is True
    assert summary["losses"] == 0
    assert summary["kills"] > 0
    assert summary["payments"] > 0
    assert summary["deliveries_of_a_payment_sent_before"] > 0
    assert (
        summary["deliveries"] == sum(summary["deliveries_by_code"].values()) + summary["deliveries_cut_off"]
    )
    assert summary["kills"] == sum(summary["kills_by_point"].values())
    if summary["mode"] == "same-transaction":
        assert summary["doubles"] == 0
        assert summary["effects"] == summary["payments"]
    else:
        assert summary["doubles"] == sum(summary["doubles_allowed_by_a_lease"].values())


# --- stores that keep their promise


@needs_fork
@pytest.mark.parametrize("delivered", [[], ["--async"]], ids=["threads", "event loops"])
@pytest.mark.parametrize("mode", ["same-transaction", "lease"])
def test_sqlite_keeps_its_promise(tmp_path: Path, mode: str, delivered: list[str]) -> None:
    summary = run(tmp_path, "--store", "sqlite://", "--private", "--mode", mode, *delivered)
    check_it_held(summary)
    assert summary["async"] is bool(delivered)


@needs_fork
@pytest.mark.parametrize(
    "store",
    [
        ["postgresql+psycopg://"],
        ["postgresql+asyncpg://", "--async"],
        ["mysql+pymysql://"],
        ["mysql+asyncmy://", "--async"],
    ],
    ids=lambda store: store[0],
)
def test_a_sql_server_that_is_stopped_and_started_keeps_its_promise(tmp_path: Path, store: list[str]) -> None:
    summary = run(tmp_path, "--store", *store, "--private", "--server-every", "1", seconds=6)
    check_it_held(summary)
    assert summary["mode"] == "same-transaction"
    assert summary["server_stops"] > 0


@needs_fork
@pytest.mark.parametrize("delivered", [[], ["--async"]], ids=["threads", "event loops"])
def test_redis_stopped_and_started_loses_nothing(tmp_path: Path, delivered: list[str]) -> None:
    summary = run(
        tmp_path, "--store", "redis://", "--private", "--server-every", "0.7", *delivered, seconds=4
    )
    check_it_held(summary)
    assert summary["mode"] == "lease"
    assert summary["server_stops"] > 0


# --- mistakes that must be found out


def found_out(tmp_path: Path, mistake: str, *arguments: str) -> dict[str, Any]:
    """Run with a mistake in the store until that is found out; in most cases at once."""
    for _ in range(8):
        summary = run(tmp_path, "--store", "sqlite://", "--private", "--break", mistake, *arguments)
        if summary["exit"]:
            assert summary["exit"] == 1, summary["said"]
            assert summary["complaints"], summary["said"]
            return summary
    raise AssertionError(f"{mistake} was not found out")


@needs_fork
def test_a_completion_outside_the_transaction_is_found_out(tmp_path: Path) -> None:
    summary = found_out(tmp_path, "completion-apart")
    assert summary["doubles"] > 0
    assert "effects too many" in summary["said"]


@needs_fork
def test_a_stale_holder_that_may_complete_is_found_out(tmp_path: Path) -> None:
    summary = found_out(tmp_path, "unfenced", "--stop-every", "0.2", "--kills-per-second", "2")
    assert summary["process_stops"] > 0
    assert summary["doubles"] > 0


@needs_fork
def test_success_for_a_payment_in_progress_is_found_out(tmp_path: Path) -> None:
    summary = found_out(tmp_path, "success-in-progress")
    assert summary["losses"] > 0
    assert "told SUCCESS without effect" in summary["said"]


@needs_fork
def test_a_lease_store_that_forgets_is_found_out(tmp_path: Path) -> None:
    summary = found_out(tmp_path, "forget", "--mode", "lease")
    assert summary["doubles"] > sum(summary["doubles_allowed_by_a_lease"].values())


# --- which doubles a lease allows


def records(*lines: tuple[Any, ...]) -> list[Record]:
    return [Record(kind, 7, *rest) for kind, *rest in lines]


FIRST = ("effect", 1, 1, 100.0, 100.1)


@pytest.mark.parametrize(
    ("others", "allowed"),
    [
        # Taken over once the lease, of 1 s, had run out; its process 1 was killed, or was not.
        ([("effect", 2, 2, 101.2, 101.3)], {"killed": 1}),
        ([("effect", 3, 2, 101.2, 101.3), ("effect", 2, 3, 102.3, 102.4)], {"killed": 1, "late": 1}),
        # It gave the claim back.
        ([("released", 1, 1, 100.0, 100.1), ("effect", 2, 2, 100.2, 100.3)], {"killed": 1}),
        # The successor completed, which is as it must be.
        ([("effect", 2, 2, 101.2, 101.3), ("done", 2, 2, 101.2, 101.3)], {"killed": 1}),
        # Taken over while the lease ran.
        ([("effect", 2, 2, 100.2, 100.3)], {}),
        # It was done before.
        ([("done", 1, 1, 100.0, 100.1), ("effect", 2, 2, 101.2, 101.3)], {}),
        # One claim, two handlers.
        ([("effect", 2, 1, 101.2, 101.3)], {}),
        ([], {}),
    ],
)
def test_a_double_is_allowed_only_after_a_lease_that_ran_out_uncompleted(
    others: list[tuple[Any, ...]], allowed: dict[str, int]
) -> None:
    assert explain(records(FIRST, *others), killed={1}, lease=1.0) == Counter(allowed)


# --- the command


@needs_fork
def test_ctrl_c_ends_it_early_with_the_summary() -> None:
    process = subprocess.Popen(
        chaos("--store", "sqlite://", "--private", seconds=600), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # of the progress
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "had its effect exactly once" in said


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl and /proc")
def test_if_the_command_is_killed_its_processes_end_too() -> None:
    process = subprocess.Popen(
        chaos("--store", "sqlite://", "--private", "--stop-every", "0.2", seconds=600),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        lines.readline()
        time.sleep(1)  # until one of them is stopped, most of the time
        assert len(alive(session=process.pid)) > 1
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while alive(session=process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert alive(session=process.pid) == []


def alive(session: int) -> list[str]:
    """List the processes of a session, each with its state; the dead that nobody waited for are none."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = file.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state not in "ZX":
            found.append(f"{file.parent.name} {state}")
    return found


@needs_fork
def test_commands_of_the_user_stop_and_start_the_server_and_it_is_up_in_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    summary = run(
        tmp_path,
        *("--store", f"sqlite:///{tmp_path}/chaos.db", "--server-every", "0.2"),
        *("--server-stop", f"echo stop >> {log}", "--server-start", f"echo start >> {log}"),
    )
    check_it_held(summary)
    commands = log.read_text().split()
    assert summary["server_stops"] == commands.count("stop") > 0
    assert commands == ["stop", "start"] * (len(commands) // 2)


@needs_fork
def test_a_command_of_the_user_that_fails_ends_the_run(tmp_path: Path) -> None:
    ended = subprocess.run(
        chaos(
            *("--store", f"sqlite:///{tmp_path}/chaos.db", "--server-every", "0.1"),
            *("--server-stop", "echo no such service; exit 3", "--server-start", "true"),
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "--server-stop ended with 3" in ended.stderr
    assert "no such service" in ended.stderr


def check_it_cannot_begin(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = main(arguments)
    except SystemExit as exit:
        code = exit.code
    captured = capsys.readouterr()
    assert code == 2
    assert said in captured.err
    assert PASSWORD not in captured.out + captured.err


@needs_fork
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--store", f"oracle://shop:{PASSWORD}@db/shop"], "no store is called 'oracle'"),
        (["--store", f"shop:{PASSWORD}@db/shop"], "no store URL"),
        (["--store", f"redis://:{PASSWORD}@db/0", "--private"], "the scheme alone"),
        (["--store", "oracle://", "--private"], "--private knows sqlite, postgresql"),
        (["--store", "redis://127.0.0.1:1/0", "--mode", "same-transaction"], "--mode lease"),
        (["--store", "sqlite:///a.db", "--server-stop", "true"], "go together"),
        (["--store", "sqlite://", "--private", "--minutes", "0"], "not a positive number"),
        (["--store", "sqlite://", "--private", "--processes", "none"], "--processes"),
        (["--store", "sqlite+aiosqlite://", "--private", "--async", "--break", "forget"], "blocking stores"),
        ([], "--store"),
    ],
)
def test_what_cannot_be_run_is_refused_with_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_it_cannot_begin(arguments, said, capsys)


def test_without_fork_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    check_it_cannot_begin(["--store", "sqlite://", "--private"], "Linux or macOS", capsys)


def test_programs_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pwd")
    from wxnotify.testing.chaos import private_servers

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(private_servers, "_PLACES", ())
    with pytest.raises(ConfigurationError, match="postgres is not installed"):
        private_servers.find("postgres")


def test_the_builders_of_notifications_do_not_load_it() -> None:
    code = "import sys, wxnotify.testing; print([name for name in sys.modules if 'chaos' in name])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
