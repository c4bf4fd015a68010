"""
Verify an APIv3 message and open it; the order of the checks is the point of this file.

Nothing is parsed before the signature held, so whoever is not WeChat Pay cannot
reach the JSON reader or the cipher. And decryption proves less than a signature:
it says nothing about the envelope, and nothing about when.

Source: WeChat Pay APIv3, "verify signatures" (chapter 4_1) and "decrypt
certificates and callbacks" (chapter 4_2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._ciphers import aes_256_gcm_decrypt, decoded, sm4_gcm_decrypt
from .._fields import require, text
from .._headers import RSA, Headers, SignatureHeaders, read_signature_headers
from .._resources import VerifiedResource, read_json
from ..errors import (
    BadCiphertext,
    BadField,
    BadSignature,
    BadSignType,
    NotifyError,
    SignatureProbe,
    StaleTimestamp,
    UnknownSerial,
    shown,
)

if TYPE_CHECKING:
    from ._platform import PlatformKey
    from ._ring import APIv3

#: In either direction; the official SDKs have the same.
WINDOW_SECONDS: Final = 300
_SM2: Final = "WECHATPAY2-SM2-WITH-SM3"
_WHAT: Final = "an APIv3 notification"
#: How many merchants a message names.
_NAMED: Final = 3
_CIPHERS: Final = {"AEAD_AES_256_GCM": aes_256_gcm_decrypt, "AEAD_SM4_GCM": sm4_gcm_decrypt}
# What a resource calls the merchant it belongs to.
_OWNERS: Final = ("mchid", "sp_mchid", "combine_mchid", "mch_id")


class Holder(NamedTuple):
    """A configured merchant and its keys."""

    mch_id: str
    apiv3: APIv3


def open_notification(
    holders: Sequence[Holder], body: bytes, headers: Headers, now: float
) -> VerifiedResource:
    """Verify and decrypt a notification; see :meth:`APIv3.open`."""
    serial, able = check_signature(holders, body, headers, now)
    envelope = read_json(body)
    require(envelope, ("id", "event_type", "resource"), _WHAT)
    opened = _opened(able, envelope)
    if isinstance(opened, BadCiphertext):
        raise _signed_by(serial, opened, holders)
    content, mch_id, key_index = opened
    return VerifiedResource._make(
        content,
        mch_id=mch_id,
        serial=serial,
        key_index=key_index,
        notification_id=text(envelope, "id"),
        event_type=text(envelope, "event_type"),
        create_time=text(envelope, "create_time"),
        summary=text(envelope, "summary"),
        original_type=text(envelope, "resource", "original_type"),
    )


def check_signature(
    holders: Sequence[Holder], body: bytes, headers: Headers, now: float
) -> tuple[str, list[Holder]]:
    """
    Check that WeChat Pay signed these bytes, for one of the merchants, and now.

    Returns:
        The serial of the platform key that matched, and the merchants whose ring has that key.
    """
    signed = read_signature_headers(headers)
    if signed.is_probe:
        raise SignatureProbe(
            "WeChat Pay tries whether signatures are checked; the genuine notification follows"
        )
    if signed.signature_type == _SM2:
        raise BadSignType(
            "the signature is SM2, which the package cryptography does not have, so nobody checked it"
        )
    if signed.signature_type != RSA:
        raise BadSignType(f"Wechatpay-Signature-Type is {shown(signed.signature_type)}, expected {RSA}")
    known = [(holder, key) for holder in holders if (key := holder.apiv3._find(signed.serial)) is not None]
    if not known:
        raise UnknownSerial(signed.serial)
    matching = _matching({key for _, key in known}, signed, body)
    if matching is None:
        raise BadSignature(
            f"Wechatpay-Signature is not that of platform key {signed.serial} "
            f"over this body of {len(body)} bytes"
        )
    away = now - signed.timestamp
    if not abs(away) <= WINDOW_SECONDS:  # of a clock that is no number, too
        raise StaleTimestamp(
            f"Wechatpay-Timestamp is {abs(away):.0f} s {'behind' if away > 0 else 'ahead of'} the clock, "
            f"{WINDOW_SECONDS} s are allowed"
        )
    return matching.serial, [holder for holder, key in known if key == matching]


def _matching(keys: set[PlatformKey], signed: SignatureHeaders, body: bytes) -> PlatformKey | None:
    signature = decoded(signed.signature)
    if signature is None:
        return None
    message = b"%b\n%b\n%b\n" % (signed.timestamp_text.encode(), signed.nonce.encode(), body)
    return next((key for key in keys if key._signed(message, signature)), None)


def _opened(
    holders: Sequence[Holder], envelope: Mapping[str, Any]
) -> tuple[dict[str, Any], str, int] | BadCiphertext:
    algorithm = text(envelope, "resource", "algorithm")
    decrypt = _CIPHERS.get(algorithm)
    if decrypt is None:
        raise BadField(f"resource.algorithm is {shown(algorithm)}, expected one of {', '.join(_CIPHERS)}")
    ciphertext = decoded(text(envelope, "resource", "ciphertext"))
    if ciphertext is None:
        raise BadCiphertext("resource.ciphertext is not base64")
    nonce = text(envelope, "resource", "nonce").encode()
    # Absent, null and empty are the same here.
    associated_data = text(envelope, "resource", "associated_data").encode()
    opened: tuple[dict[str, Any], str, int] | None = None
    tried, problem = 0, ""
    for holder in holders:
        for key_index, key in enumerate(holder.apiv3.keys):
            tried += 1
            try:
                plaintext = decrypt(key, nonce, associated_data, ciphertext)
            except BadCiphertext as refused:
                problem = refused.detail
                continue
            content = read_json(plaintext, "the decrypted resource")
            opened = opened or (content, holder.mch_id, key_index)
            # Two merchants may have one APIv3 key; then it is the one that is named.
            if any(content.get(name) == holder.mch_id for name in _OWNERS):
                return content, holder.mch_id, key_index
    return opened or BadCiphertext(
        f"resource: {problem} ({tried} key{'s' * (tried > 1)} tried); make sure that it is the APIv3 key "
        "and not the APIv2 key"
    )


def _signed_by(serial: str, refusal: BadCiphertext, holders: Sequence[Holder]) -> BadCiphertext:
    """Say of what was signed, and no key decrypted, whose keys were not tried."""
    lacking = [holder.mch_id for holder in holders if holder.apiv3._find(serial) is None]
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" * (len(lacking) > _NAMED)
        named = ", ".join(lacking[:_NAMED]) + more
        refusal = BadCiphertext(f"{refusal}; or it is for {named}, whose ring lacks platform key {serial}")
    refusal.serial = serial
    return refusal


def without_frames(refusal: NotifyError) -> NotifyError:
    """
    Take the way it came off a refusal.

    The frames there hold the body, its signature and what it decrypts to, and a
    tracker records the local variables of every frame. Its class, code and message
    say what there is to say.
    """
    refusal.__traceback__ = refusal.__context__ = refusal.__cause__ = None
    return refusal
