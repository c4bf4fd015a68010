"""
Native mode 1 (扫码模式一): a payer scans a product's code, and the answer is what there is to pay.

The one notification whose reply carries content: a signed document with the
``prepay_id`` of the order the handler has just placed. The payer waits for it,
so it is synchronous, and the same scan told again gets the same ``prepay_id``.
"""

from __future__ import annotations

import os
from typing import ClassVar, Final

from ._fields import require, shaped
from ._keys import AnyKey, Key, SignType
from ._notifications import Notification, check_source, digest
from ._reply import Reply, xml_reply
from ._signature import Verified, sign
from ._wire import write
from .errors import BadField

_WHAT: Final = "a scan"
_NAMES: Final = ("appid", "mch_id", "openid", "is_subscribe", "nonce_str", "product_id")
# What other messages under the same key have and a scan has not: the code itself,
# an order's request and answer, any result.
_FOREIGN: Final = ("time_stamp", "out_trade_no", "prepay_id", "trade_type", "result_code", "return_code")
_MAX_PREPAY_ID: Final = 64
_MAX_MESSAGE: Final = 128
_REFUSED: Final = "FAIL:"


class Scan(Notification):
    """
    A payer scanned the code of a product: place an order, and return its ``prepay_id``.

    Source: WeChat Pay APIv2, "native payment, mode 1" (chapter 6_4).
    """

    __slots__ = ("is_subscribe", "nonce_str", "openid", "product_id")

    kind = "scan"
    _shown: ClassVar = ("product_id", "mch_id")

    # ``result`` is always empty: nothing has come of it yet.

    fields: Verified
    product_id: str
    #: Who scanned, under ``appid``.
    openid: str
    #: Y or N.
    is_subscribe: str
    nonce_str: str

    @classmethod
    def from_verified(cls, verified: Verified) -> Scan:
        """
        Read verified APIv2 fields as a scan.

        Args:
            verified: What :func:`verify` returned. It has no ``return_code``.

        Returns:
            The scan.

        Raises:
            TypeError: If *verified* is anything else.

            MissingField: If a field every scan has is absent.

            BadField: If it has a field that no scan has: another message under
                the same key, such as the code itself, which everybody can read.
        """
        check_source(verified, Verified, "Scan.from_verified()")
        require(verified, _NAMES, _WHAT)
        foreign = [name for name in _FOREIGN if name in verified]
        if foreign:
            raise BadField(f"{', '.join(foreign)} is there: this is not {_WHAT}")
        mch_id = shaped("mch_id", verified["mch_id"])
        content = [verified[name] for name in ("openid", "product_id", "nonce_str")]
        fingerprint = digest(content)
        return cls._make(
            verified,
            {
                **{name: verified[name] for name in _NAMES},
                "mch_id": mch_id,
                "sub_mch_id": verified.get("sub_mch_id", ""),
                "result": "",
                # Their characters are not limited; as a digest they fit a key.
                "key": f"{cls.kind}/{mch_id}/{fingerprint.hex()[:32]}",
                "fingerprint": fingerprint,
            },
        )


class ScanRefusal(str):
    """
    What a scan's handler returns instead of a ``prepay_id``: the words the payer is shown.

    Example:
        >>> ScanRefusal("已售罄")
        ScanRefusal('已售罄')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"ScanRefusal({str(self)!r})"


def scan_result(returned: object) -> str:
    """
    Check what a scan's handler returned, and write it down for the store.

    Raises:
        TypeError: If it is neither a ``prepay_id`` nor a :class:`ScanRefusal`.

        ValueError: If it is empty, too long, or holds what does not print.
    """
    if not isinstance(returned, str):
        raise TypeError(
            f"the handler of a scan returns a prepay_id or a ScanRefusal, not {type(returned).__name__}"
        )
    refused = isinstance(returned, ScanRefusal)
    words = str(returned)
    if not words or not words.isprintable() or len(words) > (_MAX_MESSAGE if refused else _MAX_PREPAY_ID):
        raise ValueError("a prepay_id or ScanRefusal is empty, too long, or holds what does not print")
    if not refused and words.startswith(_REFUSED):
        raise ValueError("a prepay_id does not begin so")
    return _REFUSED + words if refused else words


def build_scan_reply(
    scan: Scan,
    key: AnyKey,
    answer: str,
    *,
    sign_type: SignType | None = None,
    nonce_str: str | None = None,
) -> Reply:
    """
    Build the signed answer to a scan.

    Args:
        scan: What is answered.

        key: The merchant's APIv2 key.

        answer: The ``prepay_id`` of the order, or a :class:`ScanRefusal`.

        sign_type: The algorithm; that of the scan if left out.

        nonce_str: At most 32 characters; random if left out.

    Returns:
        Status 200, headers and body.

    Raises:
        TypeError, ValueError: If *answer* is neither.

        ConfigurationError: If *key* is not an APIv2 key.

    Source:
        WeChat Pay APIv2, "native payment, mode 1" (chapter 6_4).
    """
    try:
        return _signed_reply(scan, key, scan_result(answer), sign_type or scan.fields.sign_type, nonce_str)
    finally:
        del key


def reply_from_result(scan: Scan, keys: tuple[Key, ...], result: str) -> Reply:
    """Build the answer from what :func:`scan_result` wrote down, under the key the scan was signed with."""
    return _signed_reply(scan, keys[scan.fields.key_index], result, scan.fields.sign_type, None)


def _signed_reply(scan: Scan, key: AnyKey, result: str, sign_type: SignType, nonce_str: str | None) -> Reply:
    fields = {
        "return_code": "SUCCESS",
        "appid": scan.appid,
        "mch_id": scan.mch_id,
        "nonce_str": nonce_str or os.urandom(16).hex(),
    }
    if "sign_type" in scan.fields:
        fields["sign_type"] = sign_type
    if result.startswith(_REFUSED):
        fields |= {"result_code": "FAIL", "err_code_des": result[len(_REFUSED) :]}
    else:
        fields |= {"result_code": "SUCCESS", "prepay_id": result}
    return xml_reply(200, write({**fields, "sign": sign(fields, key, sign_type)}))
