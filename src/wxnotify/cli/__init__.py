"""
The command ``wxnotify``: serve, send, verify, explain, claims, reconcile, demo.

It stands outside the library and uses what everybody can use. Each subject has
its file, with ``add_command`` to say what it takes and ``run`` to do it; ``run``
returns the exit code. Code 2 means that it could not begin.

Keys come from the environment or a file (``keys.py``), never from an argument,
and no line that is printed can hold one (``terminal.py``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

from ..errors import ConfigurationError, StoreError
from . import claims, demo, explain, reconcile, send, serve, verify
from .terminal import CannotRun, Terminal

__all__ = ["main"]

_CANNOT_RUN = 2
_INTERRUPTED = 130  # what a shell gives for a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Args:
        argv: The arguments after the command's name; those of the process if left out.

    Returns:
        The exit code: 0 for yes, 1 for no, 2 if it could not begin.

    Raises:
        SystemExit: After ``--help``, ``--version`` or arguments that make no sense.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except (CannotRun, ConfigurationError, StoreError) as error:
        terminal = Terminal(sys.stderr)
        terminal.line(f"{terminal.paint('wxnotify:', 'red')} {error}")
        return _CANNOT_RUN
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, a pager perhaps, has gone; nor may the
        # interpreter's last flush trip over that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names, and repeats no argument it does not know: it may be a key."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message = (
                "an argument is not known; keys come from WXNOTIFY_KEY or --key-file, never as arguments"
            )
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="wxnotify",
        description="Try out, look into and explain WeChat Pay's notifications. Begin with: wxnotify demo",
        epilog="Keys come from the variable WXNOTIFY_KEY or from --key-file, never as arguments.",
    )
    parser.add_argument("--version", action="version", version=f"wxnotify {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for subject in (demo, serve, send, verify, explain, claims, reconcile):
        subject.add_command(commands)
    return parser


def _version() -> str:
    try:
        return version("wxpay-notify")
    except PackageNotFoundError:
        return "(not installed)"
