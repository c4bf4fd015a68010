"""The option ``--store``, and the variable it is better named in."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from ..idempotency import Store
from ..stores.url import open_store
from .terminal import CannotRun

_VARIABLE: Final = "WXNOTIFY_STORE"


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Let *parser* take ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="sqlite:///FILE, postgresql://..., mysql://... or redis://...; better in the variable "
        f"{_VARIABLE}, where no other user sees its password",
    )


def opened_store(arguments: argparse.Namespace) -> Store:
    """Open the store that is named; a SQLite file must exist, because a slip would create another."""
    url = arguments.store or os.environ.get(_VARIABLE)
    if not url:
        raise CannotRun(f"name the store, in the variable {_VARIABLE} or with --store")
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not file.exists():
        raise CannotRun(f"there is no file {file}")
    return open_store(url)
