"""
Whose notification is this: merchants, their apps, their keys.

Keys come from configuration alone. A request may say which merchant it is for,
and that picks among the configured ones; nothing in it ever becomes a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from ._checks import Expected, check_merchant
from ._keys import SIGN_TYPES, AnyKey, Key, SignType, as_keys
from ._payments import Payment
from .errors import ConfigurationError, MerchantMismatch, UnknownMerchant, shown

if TYPE_CHECKING:
    from ._headers import Headers
    from ._notifications import Notification
    from ._resources import VerifiedResource
    from ._signature import Verified


class APIv3Dialect(Protocol):
    """What the core knows of ``wxnotify.apiv3.APIv3``, which needs the extra ``crypto``."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The merchant's APIv3 key, or several while it is being changed."""
        ...

    def open(
        self, merchants: Sequence[Merchant], body: bytes, headers: Headers, now: float
    ) -> VerifiedResource:
        """Verify and decrypt an event for whichever of *merchants* it is."""
        ...


class Merchant:
    """
    One merchant account: its id, its apps and its keys.

    Args:
        mch_id: The merchant id; in service-provider mode the provider's.

        appid: The app id orders are placed with, or all of them.

        keys: The APIv2 key, as text or :class:`Key`; several while it is being
            changed. An :class:`Event` says by position which one matched, so
            you see when the old one can go. May be left out where *apiv3* is
            given; but a refund made in the merchant console comes in APIv2.

        apiv3: The APIv3 keys and WeChat Pay's own, ``wxnotify.apiv3.APIv3(...)``;
            without it, APIv3 notifications are refused.

        sub_mch_ids: In service-provider mode, the sub-merchants served here. An
            expectation may name one order's more exactly.

        combined_mch_ids: The other merchants whose orders this one combines with
            its own, so that it is told of all of them.

        sign_types: The algorithms this merchant's orders use.

    Raises:
        ConfigurationError: If an id is empty, a key is not an APIv2 key, or an
            algorithm is unknown. The message never holds a key.

    Example:
        >>> Merchant("1900000109", "wx8888888888888888", "0123456789abcdefghijklmnopqrstuv")
        <Merchant 1900000109, 1 key>
    """

    __slots__ = ("apiv3", "appids", "combined_mch_ids", "keys", "mch_id", "sign_types", "sub_mch_ids")

    apiv3: APIv3Dialect | None
    mch_id: str
    appids: tuple[str, ...]
    keys: tuple[Key, ...]
    sub_mch_ids: tuple[str, ...]
    combined_mch_ids: tuple[str, ...]
    sign_types: tuple[SignType, ...]

    def __init__(
        self,
        mch_id: str,
        appid: str | Collection[str],
        keys: AnyKey | Iterable[AnyKey] = (),
        *,
        apiv3: APIv3Dialect | None = None,
        sub_mch_ids: Collection[str] = (),
        combined_mch_ids: Collection[str] = (),
        sign_types: Collection[SignType] = SIGN_TYPES,
    ) -> None:
        if apiv3 is not None and not callable(getattr(apiv3, "open", None)):
            problem = f"apiv3 is wxnotify.apiv3.APIv3(...), not {type(apiv3).__name__}"
            del keys, apiv3  # it may be a key's text
            raise ConfigurationError(problem)
        try:
            self.keys = () if keys == () and apiv3 is not None else as_keys(keys)
        finally:
            del keys
        self.apiv3 = apiv3
        if isinstance(mch_id, str) and mch_id.startswith("wx"):
            raise ConfigurationError(
                "mch_id begins with wx, as an appid does: mch_id comes first, then appid"
            )
        (self.mch_id,) = _ids("mch_id", (mch_id,))
        self.appids = _ids("appid", appid)
        self.sub_mch_ids = _ids("sub_mch_ids", sub_mch_ids) if sub_mch_ids else ()
        self.combined_mch_ids = _ids("combined_mch_ids", combined_mch_ids) if combined_mch_ids else ()
        self.sign_types = tuple(sign_types)
        if not self.sign_types or not set(self.sign_types) <= set(SIGN_TYPES):
            raise ConfigurationError(f"sign_types are some of {', '.join(SIGN_TYPES)}")

    def check_fields(self, verified: Verified) -> None:
        """
        Check that authentic fields are for this merchant, before it is known what they tell.

        Raises:
            MerchantMismatch: As for :meth:`check`.
        """
        for field, configured in (
            ("mch_id", (self.mch_id,)),
            ("combine_mch_id", (self.mch_id,)),
            ("appid", self.appids),
            ("app_id", self.appids),
            ("combine_appid", self.appids),
            ("sub_mch_id", self.sub_mch_ids),
        ):
            received = verified.get(field)
            if received is not None and configured and received not in configured:
                raise MerchantMismatch(verified.get("out_trade_no", ""), field, received, configured)

    def check(self, notification: Notification) -> None:
        """
        Check that an authentic notification is for this merchant.

        What the notification does not name is not this check's to miss.

        Raises:
            MerchantMismatch: If ``mch_id``, ``appid`` or ``sub_mch_id`` is not
                one of those configured.
        """
        mine: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("mch_id", (self.mch_id,)),
            ("appid", self.appids),
            ("sub_mch_id", self.sub_mch_ids),
        )
        if isinstance(notification, Payment) and notification.combine_mch_id:
            mine = (
                ("combine_mch_id", (self.mch_id,)),
                ("mch_id", (self.mch_id, *self.combined_mch_ids)),
                ("appid", self.appids),
                ("sub_mch_id", self.sub_mch_ids),
            )
        for field, configured in mine:
            received = getattr(notification, field)
            if received and configured and received not in configured:
                raise MerchantMismatch(notification.out_trade_no, field, received, configured)

    def check_order(self, payment: Payment, expected: Expected | None) -> None:
        """
        Check that *payment* went where the order says; what it leaves open must be as configured.

        Raises:
            MerchantMismatch: If ``mch_id``, ``appid``, ``sub_mch_id`` or
                ``sub_appid`` is not the order's.
        """
        order = expected or Expected(1)
        mch_ids: tuple[str, ...] = (self.mch_id,)
        # Where neither the order nor the configuration names a sub-merchant, there is none.
        sub_mch_ids = self.sub_mch_ids
        if payment.combine_mch_id and payment.mch_id in self.combined_mch_ids:
            # Which may be no provider.
            mch_ids, sub_mch_ids = self.combined_mch_ids, (*self.sub_mch_ids, "")
        check_merchant(
            payment,
            mch_id=mch_ids if order.mch_id is None else order.mch_id,
            appid=self.appids if order.appid is None else order.appid,
            sub_mch_id=sub_mch_ids if order.sub_mch_id is None else order.sub_mch_id,
            sub_appid=order.sub_appid,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "sign_types"):
            return "<Merchant>"  # in the traceback of one that could not be made
        apiv3 = ", APIv3" * (self.apiv3 is not None)
        return f"<Merchant {self.mch_id}, {len(self.keys)} key{'s' * (len(self.keys) != 1)}{apiv3}>"


def _ids(name: str, given: str | Collection[str]) -> tuple[str, ...]:
    ids = (given,) if isinstance(given, str) or not isinstance(given, Collection) else tuple(given)
    if not ids or not all(isinstance(one, str) and one and one == one.strip() for one in ids):
        raise ConfigurationError(f"{name} is empty, not text, or has white space around it")
    return ids


class Ring:
    """The configured merchants, by ``mch_id``."""

    __slots__ = ("_by_mch_id",)

    def __init__(self, merchants: Merchant | Iterable[Merchant]) -> None:
        several = (merchants,) if isinstance(merchants, Merchant) else tuple(merchants)
        self._by_mch_id = {merchant.mch_id: merchant for merchant in several}
        if not several:
            raise ConfigurationError("no merchant is configured")
        if len(self._by_mch_id) < len(several):
            raise ConfigurationError("an mch_id is configured twice: give one Merchant all its apps and keys")

    @property
    def with_apiv3(self) -> tuple[Merchant, ...]:
        """Those who have APIv3."""
        return tuple([merchant for merchant in self._by_mch_id.values() if merchant.apiv3 is not None])

    def check_refunds(self) -> None:
        """
        Check that each merchant's refunds can be told from another's.

        Nothing but the APIv2 key tells them apart: which merchant a refund is for stands
        outside of what is encrypted, and anybody can write it.

        Raises:
            ConfigurationError: If two merchants have one APIv2 key.
        """
        owners: dict[bytes, str] = {}
        for merchant in self._by_mch_id.values():
            for key in merchant.keys:
                owner = owners.setdefault(key._ecb_key(), merchant.mch_id)
                if owner != merchant.mch_id:
                    del key, owners
                    raise ConfigurationError(
                        f"merchants {owner} and {merchant.mch_id} have the same APIv2 key, and nothing else "
                        "tells their refunds apart: give each merchant a key of its own"
                    )

    def find(self, mch_id: str) -> Merchant:
        """
        Find a merchant.

        Args:
            mch_id: As a message names it, verified or not; or as it was authenticated.

        Raises:
            UnknownMerchant: If none is configured for it.
        """
        merchant = self._by_mch_id.get(mch_id)
        if merchant is None:
            raise UnknownMerchant(f"no merchant is configured for mch_id {shown(mch_id)}")
        return merchant
