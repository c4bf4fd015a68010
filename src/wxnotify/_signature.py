"""
Sign and verify APIv2 fields: MD5 and HMAC-SHA256.

The rule: every field but ``sign`` whose value is not empty, ``name=value`` in
code-point order, joined by ``&``, then ``&key=`` and the merchant's key. MD5 of
that text, or its HMAC-SHA256 under the same key; upper-case hex. ``sign_type``
is a field like any other, and so is one this library has never heard of, and
one that is called ``key``.

Two facts govern this file. The text is exact: nothing is trimmed, and an empty
value means an absent field. And it is ambiguous: values are not escaped, so
``attach=a&bank_type=B`` may be one field or two. Whoever chooses ``attach`` and
sees one notification could have another order's payment re-split out of it
under the same ``sign``. Such a split must push the fields WeChat Pay made into
some value, and a value that holds one is refused (``AmbiguousSignature``).

Source: WeChat Pay APIv2, "signature algorithm" (doc 4011985891).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from ._keyed_fields import KeyedFields
from ._keys import SIGN_TYPES, AnyKey, SignType, as_keys
from .errors import (
    AmbiguousSignature,
    BadField,
    BadFieldName,
    BadSignature,
    BadSignType,
    ConfigurationError,
    MalformedSignature,
    MissingSignature,
    ReturnCodeFail,
    SandboxKey,
    shown,
)

_SIGN_TYPE_BY_LENGTH: Final[dict[int, SignType]] = {32: "MD5", 64: "HMAC-SHA256"}
_UPPER_HEX = "0123456789ABCDEF"

# Fields of WeChat Pay's own making. ``out_trade_no``, ``total_fee`` and ``sign``
# are left out on purpose: shops do write such text into ``attach``, and forging
# either of the first two always swallows ``bank_type`` or ``nonce_str``, which
# sort between it and ``attach``.
_PROVIDER_MADE = (
    "appid",
    "mch_id",
    "sub_mch_id",
    "sub_appid",
    "nonce_str",
    "openid",
    "bank_type",
    "cash_fee",
    "fee_type",
    "is_subscribe",
    "result_code",
    "return_code",
    "time_end",
    "trade_type",
    "transaction_id",
)
_SWALLOWED = tuple(f"&{name}=" for name in _PROVIDER_MADE)


class Verified(KeyedFields):
    """
    Fields that WeChat Pay signed: made by :func:`verify` and by nothing else.

    It holds exactly what was signed, so neither ``sign`` nor empty values (anyone
    may add an empty element to a message without touching its signature).
    Unknown fields are kept. It cannot be changed.

    Its ``repr`` names the fields and shows no value.
    """

    __slots__ = ("_sign_type",)

    _sign_type: SignType

    def __init__(self) -> None:
        raise TypeError("Verified is made by verify() alone, from fields whose signature holds")

    @property
    def sign_type(self) -> SignType:
        """The algorithm of the signature."""
        return self._sign_type

    @property
    def mch_id(self) -> str:
        """The merchant whose key signed it: ``mch_id``, or ``combine_mch_id`` where that is absent."""
        return named_merchant(self)

    @classmethod
    def _make(
        cls, fields: dict[str, str], key_index: int, sign_type: SignType, sandbox: bool = False
    ) -> Verified:
        made = cls._keyed(fields, key_index, sandbox)
        made._sign_type = sign_type
        return made


def named_merchant(fields: Mapping[str, str]) -> str:
    """Give the merchant whose keys *fields* are proven with: of a combined order the one who combined it."""
    return fields.get("mch_id") or fields.get("combine_mch_id", "")


def is_encrypted(fields: Mapping[str, str]) -> bool:
    """Tell whether *fields* are proven by decryption: a refund's, which are encrypted and not signed."""
    return bool(fields.get("req_info")) and not fields.get("sign")


def sign(fields: Mapping[str, str], key: AnyKey, sign_type: SignType = "MD5") -> str:
    """
    Compute the signature WeChat Pay would put in ``sign``.

    Args:
        fields: Wire names to values. A ``sign`` among them takes no part.

        key: The merchant's APIv2 key.

        sign_type: The algorithm. It is not added to *fields*; where the message
            carries ``sign_type``, it must be among them.

    Returns:
        Upper-case hex: 32 characters for MD5, 64 for HMAC-SHA256.

    Raises:
        ConfigurationError: If *key* is not an APIv2 key, or *sign_type* is unknown.

        BadField, BadFieldName: If a value is not text that UTF-8 can carry, or
            a name is not one of ASCII letters, digits and underscores.

    Example:
        >>> sign({"appid": "wx8888888888888888", "out_trade_no": "A-1001"},
        ...      "0123456789abcdefghijklmnopqrstuv")
        '4F9B8533D108EDF8FB29587B04A50A4E'

    Source:
        WeChat Pay APIv2, "signature algorithm" (doc 4011985891).
    """
    try:
        (checked,) = as_keys(key)
    finally:
        del key
    if sign_type not in SIGN_TYPES:
        raise ConfigurationError(f"sign_type {shown(sign_type)} is not one of {', '.join(SIGN_TYPES)}")
    return checked._digest(_text(_signed(fields)), sign_type)


def verify(
    fields: Mapping[str, str],
    key: AnyKey | Iterable[AnyKey],
    *,
    sign_types: Iterable[SignType] = SIGN_TYPES,
    allow_sandbox: bool = False,
) -> Verified:
    """
    Check that WeChat Pay signed these fields, with one of the merchant's keys.

    The algorithm is the signature's length: WeChat Pay sends HMAC-SHA256
    messages without ``sign_type``. Where ``sign_type`` is present it must agree.

    Args:
        fields: What :func:`parse` returned, all of it.

        key: The merchant's APIv2 key, or several while the key is being
            changed. They come from your configuration, never from the request.

        sign_types: The algorithms this merchant uses; narrow it to refuse the other.

        allow_sandbox: Whether a key of the sandbox, ``Key(..., sandbox=True)``, may match.

    Returns:
        The signed fields, with the position of the key that matched.

    Raises:
        TypeError: If *fields* is not a mapping.

        ConfigurationError: If a key is not an APIv2 key.

        ReturnCodeFail: If ``return_code`` is there and not SUCCESS: WeChat Pay
            does not sign such a message.

        MissingSignature, MalformedSignature: If ``sign`` is absent or empty, or
            not 32 or 64 upper-case hexadecimal digits.

        BadSignType: If ``sign_type`` is unknown, or disagrees with ``sign``, or
            the algorithm is not in *sign_types*.

        BadSignature: If no key gives this signature.

        SandboxKey: If it is the sandbox's key that does, and that is not allowed.

        AmbiguousSignature: If the signature holds but a value contains a field
            that WeChat Pay makes, such as ``&bank_type=``.

        BadField, BadFieldName: If a value is not text that UTF-8 can carry, or a
            name holds anything but ASCII letters, digits and underscores.

    Source:
        WeChat Pay APIv2, "signature algorithm" (doc 4011985891); the choice by
        length: WxJava issue 1585.
    """
    try:
        keys = as_keys(key)
    finally:
        del key  # no frame that raises below holds its text
    if not isinstance(fields, Mapping):
        raise TypeError(f"verify() takes the fields that parse() returns, not {type(fields).__name__}")
    signature = check_signed(fields)
    sign_type = _sign_type(signature, fields.get("sign_type"), sign_types)
    signed = _signed(fields)
    text = _text(signed)
    separators = text.count(b"&")
    for key_index, one in enumerate(keys):  # noqa: B007 read after the loop
        if hmac.compare_digest(one._digest(text, sign_type), signature):
            del text  # a traceback that shows locals must not show what was signed
            break
    else:
        del text
        raise BadSignature(f"sign does not match ({sign_type}, {len(keys)} key{'s' * (len(keys) > 1)} tried)")
    if separators >= len(signed):
        _refuse_swallowed(signed)
    if keys[key_index].sandbox and not allow_sandbox:
        raise SandboxKey(f"sign matches key {key_index}, which is a key of the sandbox")
    return Verified._make(signed, key_index, sign_type, keys[key_index].sandbox)


def check_return_code(fields: Mapping[str, str]) -> None:
    """Raise ``ReturnCodeFail`` for a message that says FAIL: it proves nothing, and tells nothing."""
    if fields.get("return_code", "SUCCESS") != "SUCCESS":
        said = f"; return_msg, unsigned, is {shown(fields['return_msg'])}" if fields.get("return_msg") else ""
        raise ReturnCodeFail(f"return_code is {shown(fields['return_code'])}, expected 'SUCCESS'{said}")


def check_signed(fields: Mapping[str, str]) -> str:
    """Return ``sign``, or raise for a message that has none, as one that says FAIL has not."""
    check_return_code(fields)
    signature = fields.get("sign")
    if signature is None or signature == "":
        raise MissingSignature("sign is absent or empty")
    return signature


def _sign_type(signature: object, declared: object, allowed: Iterable[SignType]) -> SignType:
    if not isinstance(signature, str) or signature.strip(_UPPER_HEX):
        raise MalformedSignature("sign is not upper-case hexadecimal")
    sign_type = _SIGN_TYPE_BY_LENGTH.get(len(signature))
    if sign_type is None:
        raise MalformedSignature(f"sign is {len(signature)} digits, expected 32 (MD5) or 64 (HMAC-SHA256)")
    if declared and declared != sign_type:
        raise BadSignType(f"sign_type is {shown(declared)}, but sign has the length of {sign_type}")
    if sign_type not in allowed:
        raise BadSignType(f"sign is {sign_type}, which is not allowed for this merchant")
    return sign_type


def _signed(fields: Mapping[str, str]) -> dict[str, str]:
    signed = dict(fields)
    signed.pop("sign", None)
    if "" in signed.values():
        signed = {name: value for name, value in signed.items() if value != ""}
    return signed


def _text(signed: Mapping[str, str]) -> bytes:
    try:
        # A name with "&" or "=" in it would be another way to split the signed
        # string; parse() gives none.
        names = "".join(signed)
        if signed and not (names.isascii() and names.isidentifier()):
            raise BadFieldName("a field name is not ASCII letters, digits and underscores")
        # Concatenated, not formatted, because that refuses whatever is not text.
        return "&".join([name + "=" + signed[name] for name in sorted(signed)]).encode("utf-8")
    except TypeError:
        problem = "a field's name or value is not text"
    except UnicodeEncodeError:
        problem = "a value holds an unpaired surrogate, which UTF-8 cannot carry"
    raise BadField(problem)  # out here, because a UnicodeEncodeError in its context holds what was signed


def _refuse_swallowed(signed: Mapping[str, str]) -> None:
    for name, value in signed.items():
        for swallowed in _SWALLOWED:
            if swallowed in value:
                raise AmbiguousSignature(f"the value of {name} swallows the field {swallowed[1:-1]}")
