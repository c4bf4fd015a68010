"""The command's options, and its road from them to an exit code."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...cli.terminal import Terminal, stop_on_sigterm
from ...errors import ConfigurationError, StoreError
from .mistakes import MISTAKES
from .plan import Plan

if TYPE_CHECKING:
    from .servers import Server

_HELD, _BROKEN, _CANNOT_RUN, _INTERRUPTED = 0, 1, 2, 130
#: Room for this many payments.
_PAYMENTS: Final = 4_000_000
_FAILS: Final = 0.005


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Args:
        argv: The arguments after the command's name; those of the process if left out.

    Returns:
        0 if the promise held, 1 if it did not, 2 if the run could not begin.

    Raises:
        SystemExit: After ``--help`` or arguments that make no sense.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    problem = _problem(arguments)
    if problem:
        parser.error(problem)
    stop_on_sigterm()
    try:
        return _run(arguments, Terminal())
    except (ConfigurationError, StoreError, ImportError) as error:
        terminal = Terminal(sys.stderr)
        terminal.line(f"{terminal.paint('chaos:', 'red')} {error}")
        return _CANNOT_RUN
    except KeyboardInterrupt:  # before the run, or for the second time
        return _INTERRUPTED


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from .opening import open_ground, version_of
    from .progress import Progress
    from .servers import CommandServer
    from .summary import Summary
    from .supervisor import Supervisor
    from .tally import Tally
    from .verdict import judge

    with ExitStack() as at_end:
        directory = Path(at_end.enter_context(tempfile.TemporaryDirectory(prefix="wxnotify-chaos-")))
        directory.chmod(0o711)  # a private server runs as another account
        errors, url = directory / "errors.log", arguments.store
        server: Server | None = None
        if arguments.private:
            server, url = _private(url, directory)
        elif arguments.server_stop:
            server = CommandServer(arguments.server_stop, arguments.server_start, directory / "server.log")
        if server is not None:
            at_end.callback(server.close)
        plan = _plan(arguments, url)
        ground = open_ground(plan, directory)
        version = version_of(ground, plan)
        tally = Tally(plan.processes, plan.threads, _PAYMENTS)
        descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        at_end.callback(os.close, descriptor)
        supervisor = Supervisor(plan, ground, tally, server, descriptor)
        progress = Progress(terminal, tally, ground.effects, supervisor)
        try:
            seconds = supervisor.run(progress.look)
        finally:
            progress.close()
        verdict = judge(ground.effects, tally, supervisor.killed, plan.lease)
        summary = Summary(plan, version, seconds, tally, supervisor, verdict)
        summary.show(terminal, errors.read_text(errors="replace"))
        if arguments.json:
            Path(arguments.json).write_text(summary.json(), encoding="utf-8")
    return _HELD if summary.held else _BROKEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wxnotify.testing.chaos",
        description="Deliver the same signed notifications from many processes at once, kill the "
        "processes with SIGKILL, stop and start the server, and count what came of it. Exit code 0 if no "
        "payment was lost or done twice, 1 if one was, 2 if the run could not begin. Ctrl-C ends it early, "
        "with the summary.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--store", metavar="URL", required=True,
        help="sqlite:///FILE, postgresql+psycopg://..., mysql+pymysql://..., redis://... It is written to: "
        "name a database made for this",
    )  # fmt: skip
    parser.add_argument("--minutes", type=_positive, default=1.0, help="how long (%(default)s)")
    parser.add_argument(
        "--private", action="store_true",
        help="start a server of the run's own, stop it hard now and then, and remove it; --store is then the "
        "scheme alone, such as postgresql+psycopg://",
    )  # fmt: skip
    parser.add_argument(
        "--mode", choices=["same-transaction", "lease"],
        help="the promise to prove (same-transaction where the store has transactions)",
    )  # fmt: skip
    parser.add_argument("--async", dest="asynchronous", action="store_true", help="deliver on event loops")
    cpus = os.cpu_count() or 2
    parser.add_argument(
        "--processes", type=_count, default=2 * cpus + 2, help="how many at a time (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=_count, default=2, help="deliveries at a time in each process (%(default)s)"
    )
    parser.add_argument(
        "--repeats", type=_positive, default=15.0,
        help="how often a payment is delivered, on average (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--kills-per-second", type=_positive, default=15.0, help="on average (%(default)s)")
    parser.add_argument(
        "--stop-every", metavar="SECONDS", type=_positive, default=10.0,
        help="until the next process is stopped for longer than its lease, on average (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--server-every", metavar="SECONDS", type=_positive, default=20.0,
        help="until the server is stopped again, on average (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--server-stop", metavar="COMMAND", help="a shell command that stops the server")
    parser.add_argument("--server-start", metavar="COMMAND", help="a shell command that starts it again")
    parser.add_argument(
        "--lease", metavar="SECONDS", type=_positive, default=1.0,
        help="short, so that the killed are taken over within the run (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", metavar="SECONDS", type=_positive, default=0.1,
        help="how long a delivery waits for another one of its payment (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="of the run's dice; the timing is never the same")
    parser.add_argument("--json", metavar="FILE", help="write the summary there as well")
    parser.add_argument(
        "--break", dest="mistake", choices=sorted(MISTAKES), default="",
        help="put a mistake into the store, to see that the run finds it out",
    )  # fmt: skip
    return parser


def _problem(arguments: argparse.Namespace) -> str:
    if not hasattr(os, "fork"):
        return "the chaos run needs fork and SIGKILL, so Linux or macOS; on Windows, run it in WSL"
    if bool(arguments.server_stop) is not bool(arguments.server_start):
        return "--server-stop and --server-start go together"
    if arguments.private and arguments.server_stop:
        return "--private stops and starts its own server; leave --server-stop out"
    return ""


def _private(url: str, directory: Path) -> tuple[Server | None, str]:
    from .private_servers import PRIVATE

    scheme, slashes, rest = url.partition("://")
    if not slashes or rest.strip("/"):
        raise ConfigurationError("with --private, --store is the scheme alone, such as postgresql+psycopg://")
    database = scheme.partition("+")[0]
    if database == "sqlite":
        return None, f"{scheme}:///{directory / 'chaos.db'}"
    if database not in PRIVATE:
        raise ConfigurationError(f"--private knows sqlite, {', '.join(PRIVATE)}")
    server = PRIVATE[database](directory / "server", directory / "server.log")
    return server, server.url(scheme)


def _plan(arguments: argparse.Namespace, url: str) -> Plan:
    redis = url.startswith(("redis", "valkey"))
    return Plan(
        store=url,
        mode=arguments.mode or ("lease" if redis else "same-transaction"),
        asynchronous=arguments.asynchronous,
        seconds=60 * arguments.minutes,
        processes=arguments.processes,
        threads=arguments.threads,
        repeats=arguments.repeats,
        lease=arguments.lease,
        wait=arguments.wait,
        kills_per_second=arguments.kills_per_second,
        fails=_FAILS,
        stop_every=arguments.stop_every,
        server_every=arguments.server_every,
        seed=secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed,
        mistake=arguments.mistake,
        run=f"{secrets.randbelow(10**10):010d}",
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return number
