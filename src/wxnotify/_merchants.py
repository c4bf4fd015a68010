"""
Whose notification is this: merchants, their apps, their keys.

Keys come from configuration alone. A request may say which merchant it is for,
and that picks among the configured ones; nothing in it ever becomes a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ._checks import Expected, check_merchant, mismatch
from ._keys import SIGN_TYPES, AnyKey, Key, SignType, as_keys
from ._notifications import Payment
from ._signature import Verified
from .errors import ConfigurationError, UnknownMerchant, shown


class Merchant:
    """
    One merchant account: its id, its apps and its APIv2 keys.

    Args:
        mch_id: The merchant id; in service-provider mode the provider's.

        appid: The app id orders are placed with, or all of them.

        keys: The APIv2 key, as text or :class:`Key`; several while it is being
            changed. An :class:`Event` says by position which one matched, so
            you see when the old one can go.

        sub_mch_ids: In service-provider mode, the sub-merchants served here. An
            expectation may name one order's sub-merchant more exactly.

        sign_types: The algorithms this merchant's orders use.

    Raises:
        ConfigurationError: If an id is empty, a key is not an APIv2 key, or an
            algorithm is unknown. The message never holds a key.

    Example:
        >>> Merchant("1900000109", "wx8888888888888888", "0123456789abcdefghijklmnopqrstuv")
        <Merchant 1900000109, 1 key>
    """

    __slots__ = ("appids", "keys", "mch_id", "sign_types", "sub_mch_ids")

    mch_id: str
    appids: tuple[str, ...]
    keys: tuple[Key, ...]
    sub_mch_ids: tuple[str, ...]
    sign_types: tuple[SignType, ...]

    def __init__(
        self,
        mch_id: str,
        appid: str | Collection[str],
        keys: AnyKey | Iterable[AnyKey],
        *,
        sub_mch_ids: Collection[str] = (),
        sign_types: Collection[SignType] = SIGN_TYPES,
    ) -> None:
        try:
            self.keys = as_keys(keys)
        finally:
            del keys
        if isinstance(mch_id, str) and mch_id.startswith("wx"):
            raise ConfigurationError(
                "mch_id begins with wx, as an appid does: mch_id comes first, then appid"
            )
        (self.mch_id,) = _ids("mch_id", (mch_id,))
        self.appids = _ids("appid", appid)
        self.sub_mch_ids = _ids("sub_mch_ids", sub_mch_ids) if sub_mch_ids else ()
        self.sign_types = tuple(sign_types)
        if not self.sign_types or not set(self.sign_types) <= set(SIGN_TYPES):
            raise ConfigurationError(f"sign_types are some of {', '.join(SIGN_TYPES)}")

    def check(self, verified: Verified) -> None:
        """
        Check that an authentic message is for this merchant, before it is read any further.

        A field the message does not have is not this check's to miss.

        Raises:
            MerchantMismatch: If ``mch_id``, ``appid`` or ``sub_mch_id`` is not
                one of those configured.
        """
        for field, configured in (
            ("mch_id", (self.mch_id,)),
            ("appid", self.appids),
            ("sub_mch_id", self.sub_mch_ids),
        ):
            received = verified.get(field)
            if received is not None and configured and received not in configured:
                raise mismatch(verified.get("out_trade_no", ""), field, received, configured)

    def check_order(self, payment: Payment, expected: Expected | None) -> None:
        """
        Check that *payment* went where the order says; what it leaves open must be as configured.

        Raises:
            MerchantMismatch: If ``mch_id``, ``appid``, ``sub_mch_id`` or
                ``sub_appid`` is not the order's.
        """
        order = expected or Expected(1)
        check_merchant(
            payment,
            mch_id=self.mch_id if order.mch_id is None else order.mch_id,
            appid=self.appids if order.appid is None else order.appid,
            # Where neither the order nor the configuration names a sub-merchant, there is none.
            sub_mch_id=self.sub_mch_ids if order.sub_mch_id is None else order.sub_mch_id,
            sub_appid=order.sub_appid,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "sign_types"):
            return "<Merchant>"  # in the traceback of one that could not be made
        return f"<Merchant {self.mch_id}, {len(self.keys)} key{'s' * (len(self.keys) > 1)}>"


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

    def find(self, fields: Mapping[str, str]) -> Merchant:
        """
        Find the merchant that fields name, verified or not.

        Raises:
            UnknownMerchant: If none is configured for their ``mch_id``.
        """
        mch_id = fields.get("mch_id", "")
        merchant = self._by_mch_id.get(mch_id)
        if merchant is None:
            raise UnknownMerchant(f"no merchant is configured for mch_id {shown(mch_id)}")
        return merchant
