"""
A merchant's key, APIv2's or APIv3's: checked when it is configured, never shown.

An empty key makes a signature anyone can compute, and a key with a line feed
behind it makes none that matches; both are refused before the first request.
No text of a key stays in a frame that raises, so that a tracker which records
local variables records none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal, NoReturn

from .errors import ConfigurationError

SignType = Literal["MD5", "HMAC-SHA256"]

SIGN_TYPES: Final[tuple[SignType, ...]] = ("MD5", "HMAC-SHA256")

_KEY_LENGTH = 32
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Key:
    """
    A merchant's APIv2 or APIv3 key, checked once and never shown.

    Its ``repr`` is fixed, it does not compare, pickle or copy, and no attribute
    gives the text back.

    Args:
        text: The key from the merchant console: 32 characters.

        any_length: Accept another length, and in APIv3 a nonce of another length
            too. For a test suite; a real key is 32, its nonces 12.

        sandbox: Whether it is the key of the sandbox (``getsignkey``). What such a
            key has signed is refused unless it is allowed: in production, anybody
            who may use your sandbox could pay there instead.

    Raises:
        ConfigurationError: If *text* is not a string, is empty or blank, or is
            not 32 printable ASCII characters (unless *any_length* is true). The
            message never holds it.

    Example:
        >>> Key("0123456789abcdefghijklmnopqrstuv")
        <Key>
    """

    __slots__ = ("_any_length", "_hmac_states", "_suffix", "sandbox")

    #: Whether it is the sandbox's key.
    sandbox: bool

    def __init__(self, text: str, *, any_length: bool = False, sandbox: bool = False) -> None:
        problem = _problem_with(text, any_length)
        if problem:
            del text  # a traceback that shows locals must not show it
            raise ConfigurationError(problem)
        self._any_length = bool(any_length)
        self._suffix = b"&key=" + text.encode("utf-8")
        self._hmac_states: tuple[hashlib._Hash, hashlib._Hash] | None = None
        self.sandbox = bool(sandbox)

    def __repr__(self) -> str:
        return "<Key>"

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Key does not give its text back")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key cannot be pickled or copied: it would leave the process")

    def _digest(self, text: bytes, sign_type: SignType) -> str:
        if sign_type == "MD5":
            return hashlib.md5(text + self._suffix, usedforsecurity=False).hexdigest().upper()
        # HMAC by its definition (RFC 2104) with both keyed states kept, so that a
        # notification pays for two copies and not for setting up the key.
        if self._hmac_states is None:
            self._hmac_states = _keyed_states(self._suffix[len(b"&key=") :])
        inner = self._hmac_states[0].copy()
        outer = self._hmac_states[1].copy()
        inner.update(text + self._suffix)
        outer.update(inner.digest())
        return outer.hexdigest().upper()

    def _aead_key(self) -> bytes:
        # For _ciphers.py alone, which lets none of its frames that raise keep it.
        return self._suffix[len(b"&key=") :]

    def _ecb_key(self) -> bytes:
        # The same; APIv2's refunds are encrypted under the digits of its MD5.
        return hashlib.md5(self._aead_key(), usedforsecurity=False).hexdigest().encode("ascii")


def _keyed_states(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _problem_with(text: object, any_length: bool) -> str:
    if not isinstance(text, str):
        return f"the merchant key is a {type(text).__name__}, expected text"
    if not text.strip():
        return "the merchant key is empty"
    if any_length:
        return "" if text.isprintable() else "the merchant key holds a character that cannot be typed"
    if len(text) != _KEY_LENGTH:
        return (
            f"the merchant key is {len(text)} characters, an APIv2 or APIv3 key is {_KEY_LENGTH} "
            "(white space around it counts); Key(..., any_length=True) takes another length"
        )
    if not (text.isascii() and text.isprintable()) or " " in text:
        return "the merchant key holds a character other than ASCII letters, digits and punctuation"
    return ""


AnyKey = str | Key


def as_keys(key: AnyKey | Iterable[AnyKey]) -> tuple[Key, ...]:
    """Make the tuple of :class:`Key` out of one key or several; the order stays."""
    if isinstance(key, Key):
        return (key,)
    if isinstance(key, str):
        try:
            return (Key(key),)
        finally:
            del key
    several = isinstance(key, Iterable) and not isinstance(key, bytes)
    given: list[object] = list(key) if several else [key]
    del key
    keys: list[Key] = []
    problem = "" if given else "no merchant key was given"
    while given and not problem:
        one = given.pop(0)
        if isinstance(one, Key):
            keys.append(one)
        elif not (problem := _problem_with(one, any_length=False)):
            keys.append(Key(one))  # type: ignore[arg-type]  # _problem_with() saw text
        del one
    if problem:
        given.clear()  # a traceback that shows locals must not show them
        raise ConfigurationError(problem)
    return tuple(keys)
