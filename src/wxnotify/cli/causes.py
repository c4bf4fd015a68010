"""Why a notification is refused: what is certain first, then the guesses that reproduce the sign."""

from __future__ import annotations

from typing import Final

from .. import Decrypted, NotifyError, Verified, verify
from .attempts import Case
from .hypotheses import find_causes
from .keys import Keys
from .kinds import WITHOUT_SIGN, Kind, kind_of
from .reading import RAW_BODY, Finding, Reading

_HMAC_DIGITS: Final = 64
_HEX: Final = frozenset("0123456789abcdefABCDEF")

_NOTHING_FITS: Final = Finding(
    "another_key",
    "most likely another key; or a value was changed or lost on the way: nothing that was tried gives "
    "this sign",
    "make sure that it is the APIv2 key and not the APIv3 key; compare mch_id with the account it is from; "
    "look in the merchant console when the key was last changed, and give the old one too; save the raw body "
    "at the first program that sees it, and compare",
)
_NOT_OPENED: Final = Finding(
    "other_encryption_key",
    "most likely it is encrypted under another key; or it was changed or cut on the way",
    "a refund needs the APIv2 key, a rent or hotel event the APIv3 key; look in the merchant console when "
    "that key was last changed, and give the old one too",
)
_ATTACK: Final = Finding(
    "attack",
    "the document declares a DTD, which WeChat Pay never does: somebody tries to read files or to fill "
    "the memory",
    "nothing to mend; refusing it is right",
)


def causes_of(
    reading: Reading, case: Case, source: Verified | Decrypted | None, refusal: NotifyError
) -> list[Finding]:
    """
    Give the likely causes of a refusal.

    Args:
        reading: What could be read.

        case: The same, with the keys.

        source: The fields, if their sign holds or they could be decrypted.

        refusal: What the library says.
    """
    kind = kind_of(reading.fields)
    if refusal.code == "dtd_forbidden":
        return [_ATTACK]
    # APIv3 is JSON by right.
    json_by_right = kind is not None and kind.code == "apiv3"
    causes = [one for one in reading.findings if not (json_by_right and one.code == "json_body")]
    if kind and not kind.notification:
        causes.append(Finding(kind.code, kind.says, kind.advice))
    elif not reading.fields:
        causes += _unreadable(reading)
    if refusal.code == "bad_ciphertext":
        causes.append(_NOT_OPENED)
    if source is not None and not causes:
        causes += _not_ours(refusal, kind)
    if source is not None or not reading.fields:
        return causes
    if not case.sign:
        unsigned_by_right = kind and (kind.code in WITHOUT_SIGN or not kind.notification)
        return causes if unsigned_by_right else [*causes, _unsigned(case)]
    swallowed = _swallowed(case)
    if swallowed:
        return swallowed
    causes += [*_shape(case), *find_causes(case), *_damage(case)]
    return causes or [_NOTHING_FITS]


def _unreadable(reading: Reading) -> list[Finding]:
    if reading.refusal is not None and reading.refusal.code == "empty_body":
        return [
            Finding(
                "body_consumed",
                "there is no body: perhaps a middleware or form parser has read it before",
                RAW_BODY,
            )
        ]
    return [
        Finding(
            "not_whole",
            "no known form: perhaps it was cut off, or is not the body of a request at all",
            "save the raw bytes of the request, and compare their number with Content-Length",
        )
    ]


def _not_ours(refusal: NotifyError, kind: Kind | None) -> list[Finding]:
    if refusal.code == "extra_missing":
        return []  # it says itself what to do
    if refusal.code == "merchant_mismatch":
        return [
            Finding(
                refusal.code,
                "your key fits, but it is for another merchant or app than yours",
                "look which account your order was placed with, and where its notify_url points",
            )
        ]
    return [
        Finding(
            "unlike_its_kind" if kind else "no_payment_result",
            f"your key fits, but it is not what such a notification looks like: {refusal}",
            "take the body that WeChat Pay posts to your notify_url; if that is what this is, a field was "
            "left out before it was signed, so ask who made it",
        )
    ]


def _unsigned(case: Case) -> Finding:
    if case.fields.get("return_code", "SUCCESS") != "SUCCESS":
        return Finding(
            "return_code_fail",
            "return_code is not SUCCESS: such a message is never signed and tells nothing about a payment",
            "nothing to do; it is refused whoever sent it",
        )
    return Finding(
        "no_sign",
        "there is no sign",
        "WeChat Pay signs every such notification: this one was forged, or lost it on the way",
    )


def _shape(case: Case) -> list[Finding]:
    sign = case.sign.strip()
    if len(sign) in (32, _HMAC_DIGITS) and _HEX.issuperset(sign):
        return []
    return [
        Finding(
            "sign_cut",
            f"the sign is no hexadecimal number of 32 or 64 digits, but {len(sign)} characters",
            "it was cut or replaced on the way, or a sign of another kind was put there",
        )
    ]


def _damage(case: Case) -> list[Finding]:
    damaged = [name for name, value in case.fields.items() if "\ufffd" in value]
    if not damaged:
        return []
    return [
        Finding(
            "characters_lost",
            f"{', '.join(damaged)} holds U+FFFD: characters were lost when the bytes were decoded wrongly",
            "give wxnotify the raw bytes; what is lost cannot be brought back",
        )
    ]


def _swallowed(case: Case) -> list[Finding]:
    try:
        verify(case.fields, case.keys)
    except NotifyError as error:
        if error.code == "ambiguous_signature":
            return [
                Finding(
                    error.code,
                    f"{error}: the sign holds, but the signed text can be split in two ways, and this way is "
                    "most likely a forgery made of another order's notification",
                    "look the order up with an order query; let buyers write no & into attach",
                )
            ]
    return []


def notes_on(source: Verified | Decrypted | None, keys: Keys) -> list[Finding]:
    """Say what is no reason here, but may be one in another program."""
    notes: list[Finding] = []
    if keys.padded:
        notes.append(
            Finding(
                "key_source_white_space",
                f"{keys.source} has white space or a byte order mark around a key; this command drops it",
                "strip the key where your application reads it, or every notification is refused there",
            )
        )
    if source is not None and source.key_index:
        notes.append(
            Finding(
                "other_key_given",
                f"it was made with key {source.key_index + 1}, not with the first",
                "an application that knows the first alone refuses it: give Merchant both until none comes "
                "with the old one",
            )
        )
    # A rent or hotel event names it in "algorithm".
    announced = source is not None and not source.keys().isdisjoint(("sign_type", "algorithm"))
    if isinstance(source, Verified) and source.sign_type == "HMAC-SHA256" and not announced:
        notes.append(
            Finding(
                "hmac_unannounced",
                "it is HMAC-SHA256 and has no sign_type, which is genuine",
                "a program that takes MD5 where sign_type is absent refuses it: go by the sign's length",
            )
        )
    return notes
