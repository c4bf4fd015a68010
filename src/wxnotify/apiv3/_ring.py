"""
The keys of one merchant in APIv3: its own, and those WeChat Pay signs with.

Keys come from configuration alone. A serial that is not among them is refused,
and the merchant's function is told, at most once a minute, so that it can fetch
what is new. Nothing is fetched here, and nothing that is known is forgotten: a
download for every unknown serial would be an amplifier for whoever invents
serials, and an emptied ring refuses every genuine notification.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol

from .._headers import Headers
from .._keys import AnyKey, Key, as_keys
from .._resources import VerifiedResource
from ..errors import BadCiphertext, ConfigurationError, NotifyError, UnknownSerial
from ._opening import Holder, open_notification, without_frames
from ._platform import PlatformKey

#: Between two calls of ``on_unknown_serial``, on the clock of the deliveries.
_QUIET_SECONDS: Final = 60.0

_log = logging.getLogger("wxnotify")


class Account(Protocol):
    """A configured merchant, as far as it matters here."""

    @property
    def mch_id(self) -> str: ...

    @property
    def apiv3(self) -> Any: ...


class APIv3:
    """
    One merchant's APIv3 keys, and the platform keys WeChat Pay signs with for it.

    Its methods may be called from any thread while deliveries are verified.

    Args:
        keys: The APIv3 key, as text or :class:`Key`; several while it is being
            changed. ``VerifiedResource.key_index`` says which one opened a
            notification, so you see when the old one can go. It is not the APIv2 key.

        platform: WeChat Pay's platform certificates and public key, or all of
            them, each a :class:`PlatformKey`.

        on_unknown_serial: Called with a serial that this ring does not know, after a
            notification under it was refused, and at most once a minute: fetch the
            platform certificates then, elsewhere, and :meth:`add` what is new.
            Anybody can send a serial, so it is no more than a hint. It runs before
            the reply goes out: do not wait in it. What it raises is logged.

    Raises:
        ConfigurationError: If a key is not an APIv3 key, there is no platform key,
            or two of them have one serial. The message never holds a key.

    Source:
        WeChat Pay APIv3, "verify signatures" (chapter 4_1) and "decrypt certificates
        and callbacks" (chapter 4_2).
    """

    __slots__ = ("_by_serial", "_lock", "_on_unknown_serial", "_told", "keys")

    #: The APIv3 keys.
    keys: tuple[Key, ...]

    def __init__(
        self,
        keys: AnyKey | Iterable[AnyKey],
        platform: PlatformKey | Iterable[PlatformKey],
        *,
        on_unknown_serial: Callable[[str], object] | None = None,
    ) -> None:
        try:
            self.keys = as_keys(keys)
        finally:
            del keys
        if any(key.sandbox for key in self.keys):
            raise ConfigurationError("an APIv3 key is flagged as the sandbox's, which speaks APIv2 alone")
        if inspect.iscoroutinefunction(on_unknown_serial):
            raise ConfigurationError("on_unknown_serial is called and not awaited: give a plain function")
        # Never changed, only exchanged for another: who verifies has one look at it.
        self._by_serial = _by_serial(platform)
        self._on_unknown_serial = on_unknown_serial
        self._told: float | None = None
        self._lock = threading.Lock()

    @property
    def platform(self) -> tuple[PlatformKey, ...]:
        """The platform keys, with their serials and when they expire."""
        return tuple(self._by_serial.values())

    @property
    def serials(self) -> tuple[str, ...]:
        """The serials of the platform keys."""
        return tuple(key.serial for key in self.platform)

    def add(self, key: PlatformKey) -> None:
        """
        Add a platform key, beside those that are there.

        Raises:
            ConfigurationError: If it is not a :class:`PlatformKey`, or another key
                has its serial.
        """
        with self._lock:
            self._by_serial = _by_serial([*self._by_serial.values(), key])

    def replace(self, platform: PlatformKey | Iterable[PlatformKey]) -> None:
        """
        Exchange all platform keys for others, in one step.

        Raises:
            ConfigurationError: If there is none among *platform*, and as at
                construction; the ring stays as it was then.
        """
        exchanged = _by_serial(platform)
        with self._lock:
            self._by_serial = exchanged

    @staticmethod
    def open(merchants: Iterable[Account], body: bytes, headers: Headers, now: float) -> VerifiedResource:
        """
        Verify a notification and decrypt what it tells.

        The receiver calls this. In their order: the headers' shape, the probe, the
        kind of signature, the serial, the signature over the raw body, the time
        in it, and only then the JSON, the decryption, and the JSON inside.

        Args:
            merchants: All that are configured; those without APIv3 are passed over.

            body: As it came, byte for byte.

            headers: All headers of the request.

            now: Seconds since 1970.

        Returns:
            The resource, with the merchant whose key opened it. Whether it names
            that merchant is yet to be compared.

        Raises:
            MissingSignature, BadHeader, SignatureProbe, BadSignType, UnknownSerial,
            BadSignature, StaleTimestamp: If WeChat Pay did not sign this, now, for
                one of the merchants.

            BadJSON, MissingField, BadField: If it did, but this is no notification.

            BadCiphertext: If no APIv3 key of those merchants decrypts it.
        """
        holders = [
            Holder(merchant.mch_id, merchant.apiv3)
            for merchant in merchants
            if isinstance(merchant.apiv3, APIv3)
        ]
        try:
            return open_notification(holders, body, headers, now)
        except NotifyError as refused:
            refusal = refused
        del body, headers
        # Of what no key decrypts, too: it may be for a merchant whose ring lacks the key that signed it.
        if isinstance(refusal, (UnknownSerial, BadCiphertext)) and refusal.serial:
            for holder in holders:
                if holder.apiv3._find(refusal.serial) is None:
                    holder.apiv3._tell(refusal.serial, now)
        raise without_frames(refusal)

    def _find(self, serial: str) -> PlatformKey | None:
        return self._by_serial.get(_plain(serial))

    def _tell(self, serial: str, now: float) -> None:
        if self._on_unknown_serial is None:
            return
        with self._lock:
            # The clock may have been set back meanwhile, and that must not silence it.
            if self._told is not None and abs(now - self._told) < _QUIET_SECONDS:
                return
            self._told = now
        try:
            self._on_unknown_serial(serial)
        except Exception:
            with suppress(Exception):
                _log.exception("on_unknown_serial raised; the notification is refused all the same")

    def __reduce__(self) -> NoReturn:
        raise TypeError("an APIv3 cannot be pickled or copied: its keys would leave the process")

    def __repr__(self) -> str:
        if not hasattr(self, "_lock"):
            return "<APIv3>"  # in the traceback of one that could not be made
        keys, platform = len(self.keys), len(self._by_serial)
        return f"<APIv3 {keys} key{'s' * (keys > 1)}, {platform} platform key{'s' * (platform > 1)}>"


def _by_serial(platform: PlatformKey | Iterable[PlatformKey]) -> dict[str, PlatformKey]:
    given = (
        [platform] if isinstance(platform, PlatformKey) or not isinstance(platform, Iterable) else platform
    )
    found: dict[str, PlatformKey] = {}
    for key in given:
        if not isinstance(key, PlatformKey):
            raise ConfigurationError(f"a platform key is a PlatformKey, not a {type(key).__name__}")
        if found.setdefault(_plain(key.serial), key) != key:
            raise ConfigurationError(f"two platform keys have the serial {key.serial}")
    if not found:
        raise ConfigurationError("no platform key is left: every notification would be refused")
    return found


def _plain(serial: str) -> str:
    # Some print a serial number as whole bytes, and some without zeros in front.
    return serial.lstrip("0")
