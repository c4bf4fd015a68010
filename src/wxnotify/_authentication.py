"""
Whose notification is this, and what does it say: bytes and headers to notifications.

One rule decides the dialect, before anything is verified: what the bytes are. A
JSON object is APIv3, everything else APIv2; headers are asked only where the body
is neither. Each dialect then needs its own proof, under its own keys, so nothing
is gained by dressing one as the other; and "whichever verifies" is never tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ._headers import Headers, has_signature_headers
from ._kinds import read_source
from ._merchants import Merchant, Ring
from ._signature import Verified, check_signed, is_encrypted, named_merchant, verify
from ._wire import parse
from .errors import NotifyError, TooLarge, UnknownMerchant, shown

if TYPE_CHECKING:
    from ._decrypted import Decrypted
    from ._notifications import Notification, Source
    from ._reply import ReplyDialect
    from ._resources import VerifiedResource

# What may stand before the first character that tells: white space, a byte order mark.
_BEFORE = b" \t\r\n\xef\xbb\xbf"
_LOOK_AT = 64


class Received(NamedTuple):
    """What came in, or why it is refused and how far it came."""

    #: How to answer.
    dialect: ReplyDialect
    #: Several for a combined order; the one that is not the merchant's, if that is why it is refused.
    notifications: tuple[Notification, ...] = ()
    merchant: Merchant | None = None
    #: What is proven of it, refused or not.
    source: Source | None = None
    error: NotifyError | None = None


class Authenticator:
    """
    Reads what comes in.

    Args:
        ring: The configured merchants.

        max_bytes: Refuse a longer body.

        wall_clock: Seconds since 1970, which APIv3's timestamps are compared with.

        allow_sandbox: Whether keys of the sandbox may match.
    """

    def __init__(
        self, ring: Ring, max_bytes: int, wall_clock: Callable[[], float], allow_sandbox: bool
    ) -> None:
        self._ring = ring
        self._max_bytes = max_bytes
        self._wall_clock = wall_clock
        self._allow_sandbox = allow_sandbox

    def read(self, body: bytes, headers: Headers | None) -> Received:
        """
        Authenticate what came, and read it.

        Args:
            body: The raw body.

            headers: The request's; None if there are none.

        Raises:
            TypeError: If *body* is not ``bytes``, or *headers* are a text.
        """
        if isinstance(headers, (str, bytes)):
            raise TypeError(f"headers are a mapping, pairs or an environ, not {type(headers).__name__}")
        given = () if headers is None else headers
        received = Received("APIv2")
        source: Source
        try:
            if isinstance(body, bytes) and self._is_apiv3(body, given):
                received = Received("APIv3")
                merchant, source = self._authentic_apiv3(body, given)
            else:
                fields = parse(body, max_bytes=self._max_bytes)
                if "event_ciphertext" in fields:
                    received = Received("pay_after")
                merchant, source = self._authentic_apiv2(fields)
            received = received._replace(merchant=merchant, source=source)
            if isinstance(source, Verified):
                merchant.check_fields(source)
            notifications = read_source(source, merchant.apiv3.keys if merchant.apiv3 is not None else ())
            for notification in notifications:
                received = received._replace(notifications=(notification,))
                merchant.check(notification)
            return received._replace(notifications=notifications)
        except NotifyError as error:
            # Its frames hold the body and what was read of it.
            return received._replace(error=error.with_traceback(None))

    @staticmethod
    def _is_apiv3(body: bytes, headers: Headers) -> bool:
        first = body[:_LOOK_AT].lstrip(_BEFORE)[:1]
        return first == b"{" or (first != b"<" and has_signature_headers(headers))

    def _authentic_apiv2(self, fields: dict[str, str]) -> tuple[Merchant, Verified | Decrypted]:
        encrypted = is_encrypted(fields)
        if not encrypted:
            check_signed(fields)
        merchant = self._ring.find(named_merchant(fields))
        if not merchant.keys:
            raise UnknownMerchant(f"no APIv2 key is configured for mch_id {shown(merchant.mch_id)}")
        if encrypted:
            from ._decrypted import decrypt

            return merchant, decrypt(
                fields, merchant.keys, mch_id=merchant.mch_id, allow_sandbox=self._allow_sandbox
            )
        return merchant, verify(
            fields, merchant.keys, sign_types=merchant.sign_types, allow_sandbox=self._allow_sandbox
        )

    def _authentic_apiv3(self, body: bytes, headers: Headers) -> tuple[Merchant, VerifiedResource]:
        if len(body) > self._max_bytes:
            raise TooLarge(f"body is {len(body)} bytes, the limit is {self._max_bytes}")
        merchants = self._ring.with_apiv3
        if not merchants:
            from ._ciphers import check_installed

            check_installed("an APIv3 notification")
            raise UnknownMerchant("an APIv3 notification came, and no merchant is configured with apiv3=")
        dialect = merchants[0].apiv3
        assert dialect is not None  # noqa: S101 - with_apiv3 says so
        resource = dialect.open(merchants, body, headers, self._wall_clock())
        return self._ring.find(resource.mch_id), resource
