"""
Where the command's keys and ids come from.

Never from an argument: other users of the machine see those in the list of
processes, and the shell keeps them in its history.

Several keys are separated by white space, because a key can hold a comma but
never a blank.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from .. import Key, Merchant, testing
from ..errors import ConfigurationError
from .terminal import CannotRun

KEY_VARIABLE: Final = "WXNOTIFY_KEY"
APIV3_KEY_VARIABLE: Final = "WXNOTIFY_APIV3_KEY"
MCH_ID_VARIABLE: Final = "WXNOTIFY_MCH_ID"
APPID_VARIABLE: Final = "WXNOTIFY_APPID"


class Keys:
    """
    The keys that were given, as text.

    Args:
        texts: The keys, the present one first.

        source: Where they were read, for messages.

        padded: Whether there was white space, or a byte order mark, around them.
    """

    __slots__ = ("padded", "source", "texts")

    def __init__(self, texts: tuple[str, ...] = (), source: str = "", padded: bool = False) -> None:
        self.texts = texts
        self.source = source
        self.padded = padded

    def __repr__(self) -> str:
        return f"<Keys: {len(self.texts)} from {self.source or 'nowhere'}>"


def add_key_option(parser: ArgumentParser) -> None:
    """Let a command take keys."""
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help=f"read the merchant's APIv2 keys from FILE, one a line; without it, from the environment "
        f"variable {KEY_VARIABLE}, separated by white space",
    )


def add_id_options(parser: ArgumentParser, default: str) -> None:
    """Let a command take the merchant's ids; *default* says what holds without them."""
    for option, variable in (("--mch-id", MCH_ID_VARIABLE), ("--appid", APPID_VARIABLE)):
        parser.add_argument(option, metavar="ID", help=f"or the environment variable {variable}; {default}")


def read_keys(arguments: Namespace) -> Keys:
    """
    Read the APIv2 keys from the file or the environment.

    Raises:
        CannotRun: If there are none, or one cannot be a key. The message holds none.
    """
    keys = _read(arguments.key_file, KEY_VARIABLE)
    if not keys.texts:
        raise CannotRun(
            f"no key: put the merchant's APIv2 key into the environment variable {KEY_VARIABLE}, "
            "or into a file (one key a line) and give its name with --key-file. "
            "It is never taken from an argument, which other users of this machine could read"
        )
    return keys


def read_apiv3_keys(arguments: Namespace) -> Keys:
    """Read the APIv3 key, or give none."""
    return _read(arguments.apiv3_key_file, APIV3_KEY_VARIABLE)


def read_ids(arguments: Namespace) -> tuple[str, str]:
    """Give ``mch_id`` and ``appid``; empty where they are given nowhere."""
    return (
        arguments.mch_id or os.environ.get(MCH_ID_VARIABLE, ""),
        arguments.appid or os.environ.get(APPID_VARIABLE, ""),
    )


def read_merchant(arguments: Namespace) -> tuple[Merchant, Keys]:
    """Make the merchant for development: given keys, given ids or those of :mod:`wxnotify.testing`."""
    keys = read_keys(arguments)
    mch_id, appid = read_ids(arguments)
    return Merchant(mch_id or testing.MCH_ID, appid or testing.APPID, keys.texts), keys


def _read(file: str | None, variable: str) -> Keys:
    if file:
        return _checked(_file_text(file), file)
    return _checked(os.environ.get(variable, ""), variable)


def _file_text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise CannotRun(f"the key file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotRun(f"the key file {file} is not text in UTF-8") from None


def _checked(text: str, source: str) -> Keys:
    texts = tuple(text.removeprefix("\ufeff").split())
    for one in texts:
        try:
            Key(one)
        except ConfigurationError as error:
            hint = "; several keys are separated by white space, not commas" if "," in one else ""
            raise CannotRun(f"{source}: {error}{hint}") from None
    padded = any(part.strip() != part for part in (text, *text.split("\n"))) or text.startswith("\ufeff")
    return Keys(texts, source, padded)
