"""What the commands that look into a store have in common: which one, and how much of it they show."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from ..idempotency import Store
from ..stores.url import open_store
from .terminal import CannotRun

_VARIABLE: Final = "WXNOTIFY_STORE"
_MOST_DIGITS: Final = 9


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Let *parser* take ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="sqlite:///FILE, postgresql://..., mysql://... or redis://...; better in the variable "
        f"{_VARIABLE}, where no other user sees its password",
    )


def add_most_option(parser: argparse.ArgumentParser) -> None:
    """Let *parser* take ``--most``."""
    parser.add_argument("--most", metavar="N", type=_count, default=50, help="show at most N (50)")


def opened_store(arguments: argparse.Namespace) -> Store:
    """Open the store that is named; a SQLite file must exist, because a slip would create another."""
    url = arguments.store or os.environ.get(_VARIABLE)
    if not url:
        raise CannotRun(f"name the store, in the variable {_VARIABLE} or with --store")
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not file.exists():
        raise CannotRun(f"there is no file {file}")
    return open_store(url)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {10**_MOST_DIGITS - 1}")
    return int(text)
