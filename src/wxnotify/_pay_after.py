"""
Rent and hotel events (免押租借, 免押速住): signed with one key, encrypted with the other.

The outer document is APIv2's, under ``sign``; what happened is in
``event_ciphertext``, under the APIv3 key, and is XML again. It is answered in
words of its own: ``<code>`` and ``<message>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from ._ciphers import aes_256_gcm_decrypt, check_installed, decoded
from ._decrypted import first_document
from ._fields import amount_text, beijing, require, shaped
from ._keys import Key
from ._notifications import Notification, check_source, digest
from ._signature import Verified
from .errors import BadCiphertext, BadField, UnknownMerchant, shown

if TYPE_CHECKING:
    from datetime import datetime

_WHAT: Final = "a rent or hotel event"
_NAMES: Final = (
    "mch_id",
    "app_id",
    "event_id",
    "event_type",
    "event_algorithm",
    "event_nonce",
    "event_ciphertext",
)
_INNER: Final = ("out_order_no", "order_id", "state")
_EVENT_TYPES: Final = ("CHECK.SUCCESS", "CHECK.FAIL", "TRANSACTION.SUCCESS", "TRANSACTION.FAIL")


class PayAfter(Notification):
    """
    A rent or hotel order was confirmed, or paid, or was not. **Look at** :attr:`result`.

    No expectation is asked: compare ``deposit_amount`` and ``total_amount`` with your own order.
    """

    __slots__ = (
        "apiv3_key_index",
        "content",
        "deposit_amount",
        "event_create_time",
        "event_id",
        "order_id",
        "out_order_no",
        "state",
        "total_amount",
    )

    kind = "pay_after"
    _shown: ClassVar = ("event_type", "event_id", "out_order_no", "state")

    # ``result`` is the event's type: CHECK.SUCCESS, CHECK.FAIL, TRANSACTION.SUCCESS or TRANSACTION.FAIL.

    #: The outer fields.
    fields: Verified
    #: What was encrypted, every field of it.
    content: Mapping[str, str]
    event_id: str
    event_create_time: datetime | None
    #: Yours.
    out_order_no: str
    #: WeChat Pay's.
    order_id: str
    state: str
    #: In fen; None where it is absent or nothing.
    deposit_amount: int | None
    #: In fen; None where it is absent or nothing.
    total_amount: int | None
    #: Position, from 0, of the APIv3 key that decrypted it among those that were given.
    apiv3_key_index: int

    @classmethod
    def from_verified(cls, verified: Verified, apiv3_keys: Iterable[Key]) -> PayAfter:
        """
        Read verified APIv2 fields as a rent or hotel event, and decrypt what happened.

        Args:
            verified: What :func:`verify` returned.

            apiv3_keys: The merchant's APIv3 key, or several while it is being changed.

        Returns:
            The event.

        Raises:
            TypeError: If *verified* is anything else.

            ExtraMissing: If the extra ``crypto`` is not installed.

            MissingField: If a field every such event has is absent.

            BadField: If the type or the algorithm is unknown, or an amount or id odd.

            BadCiphertext: If no key decrypts it to a document.

        Source:
            WeChat Pay, "pay after use, confirmed" and "paid" (payscore chapters 18_7,
            18_8, 19_7, 19_8).
        """
        check_source(verified, Verified, "PayAfter.from_verified()")
        require(verified, _NAMES, _WHAT)
        if verified["event_algorithm"] != "AEAD_AES_256_GCM":
            raise BadField(
                f"event_algorithm is {shown(verified['event_algorithm'])}, expected AEAD_AES_256_GCM"
            )
        apiv3_key_index, content = _opened(verified, tuple(apiv3_keys))
        return cls._of(verified, content, apiv3_key_index)

    @classmethod
    def _of(cls, verified: Verified, content: Mapping[str, str], apiv3_key_index: int = 0) -> PayAfter:
        event_type = verified["event_type"]
        if event_type not in _EVENT_TYPES:
            raise BadField(f"event_type is {shown(event_type)}, expected one of {', '.join(_EVENT_TYPES)}")
        require(content, _INNER, _WHAT)
        mch_id, event_id = shaped("mch_id", verified["mch_id"]), shaped("event_id", verified["event_id"])
        ids = {name: shaped(name, content[name]) for name in ("out_order_no", "order_id")}
        # What has cost nothing, or took no deposit, says 0.
        amounts = {
            name: None if content.get(name) == "0" else amount_text(name, content.get(name))
            for name in ("deposit_amount", "total_amount")
        }
        told = [ids["out_order_no"], ids["order_id"], content["state"], *map(str, amounts.values())]
        return cls._make(
            verified,
            {
                **ids,
                **amounts,
                "apiv3_key_index": apiv3_key_index,
                "appid": verified["app_id"],
                "mch_id": mch_id,
                "out_trade_no": ids["out_order_no"],
                "transaction_id": content.get("finish_transaction_id", ""),
                "event_type": event_type,
                "event_id": event_id,
                "event_create_time": beijing(verified.get("event_create_time", "")),
                "state": content["state"],
                "content": MappingProxyType(dict(content)),
                "result": event_type,
                "key": f"{cls.kind}/{mch_id}/{event_id}/{event_type}",
                "fingerprint": digest(told),
            },
        )

    def __reduce__(self) -> tuple[object, ...]:
        return PayAfter._of, (self.fields, dict(self.content), self.apiv3_key_index)


def _opened(verified: Verified, keys: tuple[Key, ...]) -> tuple[int, dict[str, str]]:
    nonce = verified["event_nonce"].encode()
    associated_data = verified.get("event_associated_data", "").encode()
    ciphertext = decoded(verified["event_ciphertext"]) or b""
    if not keys:
        check_installed("A rent or hotel event")
        raise UnknownMerchant(
            f"a rent or hotel event is encrypted under the APIv3 key, and mch_id {shown(verified.mch_id)} "
            "is configured without apiv3="
        )
    opened = first_document(keys, lambda key: aes_256_gcm_decrypt(key, nonce, associated_data, ciphertext))
    if opened is None:
        raise BadCiphertext(
            "event_ciphertext does not decrypt to a document "
            f"({len(keys)} APIv3 key{'s' * (len(keys) > 1)} tried)"
        )
    return opened
