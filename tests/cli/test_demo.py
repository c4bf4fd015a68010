"""``wxnotify demo``, run for real, and what it prints on other terminals."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wxnotify import cli
from wxnotify.cli.deliveries import DELIVERIES
from wxnotify.cli.send import post
from wxnotify.cli.terminal import Terminal, pad

COMMAND = [sys.executable, "-m", "wxnotify.cli", "demo"]


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", env=variables, timeout=60, check=False
    )


def test_everything_comes_out_as_it_must():
    run = demo()
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert run.stdout.count("\n ✓ ") == len(DELIVERIES) + 1
    assert "✗" not in run.stdout
    codes = {code for delivery in DELIVERIES for code in delivery.expected.codes}
    assert codes <= set(re.findall(r"\w+", run.stdout))
    assert re.search(r"^  A-1004 +100  open +0 +0$", run.stdout, re.MULTILINE)
    assert re.search(r"^  A-1005 +100  paid +\d{28} +1 +1$", run.stdout, re.MULTILINE)


def test_it_shows_every_case_the_library_is_for():
    codes = {code for delivery in DELIVERIES for code in delivery.expected.codes}
    assert codes >= {
        "handled", "duplicate", "bad_signature", "amount_mismatch", "unknown_order", "dtd_forbidden",
        "transaction_mismatch",
    }  # fmt: skip


def test_it_fits_into_100_columns_and_has_no_colours_in_a_file():
    run = demo()
    assert "\x1b" not in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 100


def test_a_terminal_that_knows_ascii_alone_gets_ascii():
    run = demo(PYTHONIOENCODING="ascii")
    assert run.returncode == 0
    assert run.stdout.isascii()
    assert run.stdout.count("\n + ") == len(DELIVERIES) + 1


def test_an_expectation_that_does_not_hold_is_shown_and_fails(monkeypatch, capsys):
    from wxnotify.cli import demo as module

    wrong = DELIVERIES[0]._replace(expected=DELIVERIES[0].expected._replace(status=500))
    monkeypatch.setattr(module, "DELIVERIES", (wrong, *DELIVERIES[1:]))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["demo"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    printed = capsys.readouterr().out
    assert "✗  1" in printed
    assert f"{len(DELIVERIES) - 1} of {len(DELIVERIES)} deliveries" in printed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_keep_the_server_stays_until_it_is_interrupted(number):
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", "PATH": ""}
    with subprocess.Popen(
        [*COMMAND, "--keep"], stdout=subprocess.PIPE, encoding="utf-8", env=variables
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            said = ""
            while " explain " not in said.rpartition("Try:")[2]:
                line = process.stdout.readline()
                assert line, said
                said += line
            url = re.search(r"http://\S+", said)[0]
            key_file = Path(re.search(r"--key-file (\S+)", said)[1])
            key = key_file.read_text().strip()
            assert key_file.stat().st_mode & 0o077 == 0
            body = Path(re.search(r"--data-binary @(\S+)", said)[1]).read_bytes()
            assert post(url, body).success
            while "A-1004" not in (line := process.stdout.readline()):
                said += line
            assert "200 SUCCESS  handled" in line
            process.send_signal(number)
            said += process.stdout.read()
            assert process.wait() == 0
        finally:
            watchdog.cancel()
            process.kill()
    assert key not in said
    assert not key_file.exists()
    assert post(url, body).problem


# --- terminals -------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal; StringIO has no encoding of its own."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, environment, coloured):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (Terminal(Screen()).paint("x", "red") != "x") is coloured


def test_a_key_is_never_printed():
    screen = Screen()
    Terminal(screen, hidden=["secret"]).line("the secret is secret")
    assert screen.getvalue() == "the <key> is <key>\n"


def test_chinese_takes_two_columns():
    assert pad("谢谢", 6) == "谢谢  "
    assert pad("long enough", 3) == "long enough"
