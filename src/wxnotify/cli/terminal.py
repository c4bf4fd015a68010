"""
What the command prints with.

Colour only where somebody looks at it; signs that the console cannot print
become ASCII; text that came from outside cannot move the cursor; and a key that
finds its way into a line is printed as ``<key>``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Iterable
from typing import Final, Literal, TextIO

Colour = Literal["red", "green", "yellow", "cyan", "bold", "dim"]

_CODES: Final[dict[Colour, str]] = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}
_PLAIN: Final = str.maketrans({"─": "-", "│": "|", "✓": "+", "✗": "x", "…": "...", "·": "-"})
_MOST_COLUMNS: Final = 100
_WIDE: Final = ("W", "F")


class CannotRun(Exception):
    """Something the person at the keyboard must mend before the command can begin: exit code 2."""


class Terminal:
    """
    Lines to a stream.

    Args:
        stream: Where to; standard output if left out.

        hidden: Keys, which are printed as ``<key>``.
    """

    def __init__(self, stream: TextIO | None = None, *, hidden: Iterable[str] = ()) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._hidden = tuple(hidden)
        self._colour = _shows_colour(self._stream)
        self._lock = threading.Lock()

    def line(self, text: str = "") -> None:
        """Print one line, at once."""
        for key in self._hidden:
            text = text.replace(key, "<key>")
        text = _encodable(text, self._stream.encoding or "ascii")
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def paragraph(self, text: str, indent: int) -> None:
        """Print text in lines as wide as the terminal, at most 100 columns."""
        left = " " * indent
        lines = textwrap.wrap(
            text, max(self.columns - indent, 20), break_long_words=False, break_on_hyphens=False
        )
        for line in lines:
            self.line(left + line)

    @property
    def columns(self) -> int:
        """How wide to print: as the terminal, at most 100."""
        return min(_MOST_COLUMNS, shutil.get_terminal_size((_MOST_COLUMNS, 24)).columns)

    def heading(self, text: str) -> None:
        """Print the title of a section, with an empty line before it."""
        self.line()
        self.line(self.paint(text, "bold"))

    def paint(self, text: str, colour: Colour) -> str:
        """Give *text* in a colour, or as it is where there are none."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._colour and text else text


def stop_on_sigterm() -> None:
    """Let ``kill`` and ``docker stop`` end the command as cleanly as Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def printable(text: str) -> str:
    """Escape what would move the cursor, turn the writing direction or be invisible."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def pad(text: str, columns: int) -> str:
    """Fill *text* up to a number of columns; a Chinese character takes two."""
    taken = sum(2 if unicodedata.east_asian_width(character) in _WIDE else 1 for character in text)
    return text + " " * (columns - taken)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _shows_colour(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    if sys.platform == "win32":
        os.system("")  # noqa: S605, S607 - starts nothing, but makes the console understand colour codes
    return True
