"""
Ways a sign may have been made: which fields were signed, with which keys, by which steps.

Each function gives the attempts of one guess (``hypotheses.py``) for one case.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from .rewrites import Rewrite

Fields = Mapping[str, str]
Digest = Callable[[bytes, bytes, str], str]

_HMAC_DIGITS: Final = 64
# Where a sign is found: in notifications, and in the parameters for a payer's browser.
SIGNS: Final = frozenset({"sign", "paySign"})

# Fields that are often absent, with what is in them most of the time.
_OFTEN: Final = {
    "return_code": ("SUCCESS",),
    "result_code": ("SUCCESS",),
    "return_msg": ("OK", "SUCCESS"),
    "fee_type": ("CNY",),
    "is_subscribe": ("N", "Y"),
    "trade_type": ("JSAPI", "NATIVE", "APP", "MWEB", "MICROPAY"),
    "bank_type": ("OTHERS", "CFT", "CMC", "ICBC_DEBIT", "CMB_DEBIT", "CMB_CREDIT"),
    "trade_state": ("SUCCESS",),
    "device_info": ("WEB",),
    "version": ("1.0",),
    "cash_fee_type": ("CNY",),
}
_PADDING: Final = ("\n", " ", "\r\n", "\t")
NO_KEY: Final = ("", "None", "null", "undefined", "key", "YOUR_KEY")


def signed_text(fields: Fields) -> str:
    """Write the string that is signed, by WeChat Pay's rule, as far as ``&key=``."""
    names = [name for name in sorted(fields) if name not in SIGNS and fields[name]]
    return "&".join(f"{name}={fields[name]}" for name in names)


def by_length(text: bytes, key: bytes, sign: str) -> str:
    """Sign by the rule, with the algorithm that makes signs of this length."""
    whole = text + b"&key=" + key
    if len(sign) == _HMAC_DIGITS:
        return hmac.new(key, whole, hashlib.sha256).hexdigest().upper()
    return hashlib.md5(whole, usedforsecurity=False).hexdigest().upper()


def rule(fields: Fields) -> bytes:
    """Give the bytes that are signed, as far as ``&key=``."""
    return signed_text(fields).encode("utf-8", "surrogatepass")


class Case(NamedTuple):
    """What there is to explain."""

    #: All that came, the sign too.
    fields: Fields
    #: As it came.
    sign: str
    keys: tuple[str, ...]
    apiv3_keys: tuple[str, ...] = ()
    #: The merchant's own, where known.
    mch_id: str = ""
    appid: str = ""


class Attempt(NamedTuple):
    """A way the sign may have been made."""

    fields: Fields
    #: Instead of those given.
    keys: tuple[str, ...] | None = None
    text: Callable[[Fields], bytes] = rule
    #: From that text, the key and the sign that came, whose length says the algorithm.
    digest: Digest = by_length


# --- about the sign and the key ---------------------------------------


def exactly_if(condition: Callable[[Case], bool]) -> Callable[[Case], Iterable[Attempt]]:
    """Sign all as it came, if the condition holds: only something beside the text is wrong."""
    return lambda case: [Attempt(case.fields)] if condition(case) else []


def disagrees(case: Case) -> bool:
    """Tell whether ``sign_type`` names another algorithm than the length of the sign."""
    by_digits = "HMAC-SHA256" if len(case.sign.strip()) == _HMAC_DIGITS else "MD5"
    return case.fields.get("sign_type", by_digits) not in (by_digits, "")


def padded_keys(case: Case) -> Iterator[Attempt]:
    """Sign with white space around the keys."""
    keys = [key + pad for key in case.keys for pad in _PADDING] + [f" {key}" for key in case.keys]
    keys += [f" {key} " for key in case.keys] + [f"\ufeff{key}" for key in case.keys]
    yield Attempt(case.fields, keys=tuple(keys))


def other_case_keys(case: Case) -> Iterator[Attempt]:
    """Sign with the keys in lower and upper case."""
    turned = {turn(key) for key in case.keys for turn in (str.lower, str.upper)}
    yield Attempt(case.fields, keys=tuple(turned - set(case.keys)))


def digested(function: Digest) -> Callable[[Case], Iterable[Attempt]]:
    """Sign all as it came, by other steps."""
    return lambda case: [Attempt(case.fields, digest=function)]


def hmac_without_suffix(text: bytes, key: bytes, sign: str) -> str:
    """HMAC-SHA256 of the fields alone."""
    return hmac.new(key, text, hashlib.sha256).hexdigest().upper()


def hmac_md5(text: bytes, key: bytes, sign: str) -> str:
    """HMAC-MD5."""
    return hmac.new(key, text + b"&key=" + key, hashlib.md5).hexdigest().upper()


def plain_sha256(text: bytes, key: bytes, sign: str) -> str:
    """SHA-256 in the place of MD5."""
    return hashlib.sha256(text + b"&key=" + key).hexdigest().upper()


def without_key(text: bytes, key: bytes, sign: str) -> str:
    """Digest the fields alone."""
    function = hashlib.sha256 if len(sign) == _HMAC_DIGITS else hashlib.md5
    return function(text).hexdigest().upper()


def key_unnamed(text: bytes, key: bytes, sign: str) -> str:
    """MD5 with the key right behind the fields."""
    return hashlib.md5(text + key, usedforsecurity=False).hexdigest().upper()


# --- about which fields were signed -------------------------------------


def without_sign_type(case: Case) -> Iterator[Attempt]:
    """Leave ``sign_type`` out."""
    if "sign_type" in case.fields:
        yield Attempt(_less(case.fields, "sign_type"))


def with_sign_type(case: Case) -> Iterator[Attempt]:
    """Put ``sign_type`` in."""
    if not case.fields.get("sign_type"):
        for sign_type in ("MD5", "HMAC-SHA256"):
            yield Attempt({**case.fields, "sign_type": sign_type})


def with_empty(case: Case) -> Iterator[Attempt]:
    """Sign empty values too."""
    yield Attempt(case.fields, text=_in_order(sorted(case.fields)))


def in_document_order(case: Case) -> Iterator[Attempt]:
    """Sign the fields in the order they came, or sorted without regard to case."""
    names = [name for name, value in case.fields.items() if value]
    for order in (names, sorted(names, key=str.lower)):
        yield Attempt(case.fields, text=_in_order(order))


def _in_order(names: Iterable[str]) -> Callable[[Fields], bytes]:
    def text(fields: Fields) -> bytes:
        pairs = [f"{name}={fields[name]}" for name in names if name not in SIGNS]
        return "&".join(pairs).encode("utf-8", "surrogatepass")

    return text


def with_keys(keys: Callable[[Case], tuple[str, ...]]) -> Callable[[Case], Iterable[Attempt]]:
    """Sign all as it came, with other keys."""
    return lambda case: [Attempt(case.fields, keys=keys(case))]


def one_added(case: Case) -> Iterator[Attempt]:
    """Leave out one field after the other."""
    for name in case.fields:
        yield Attempt(_less(case.fields, name))


def one_lost(case: Case) -> Iterator[Attempt]:
    """Put in one field after the other of those that are often there."""
    own = {
        "mch_id": (case.mch_id,),
        "appid": (case.appid,),
        "cash_fee": (case.fields.get("total_fee", ""),),
        "total_fee": (case.fields.get("cash_fee", ""),),
    }
    for name, values in {**_OFTEN, **own}.items():
        if not case.fields.get(name):
            for value in filter(None, values):
                yield Attempt({**case.fields, name: value})


def one_padded(case: Case) -> Iterator[Attempt]:
    """Put white space around one value after the other."""
    for name, value in case.fields.items():
        for pad in _PADDING:
            yield Attempt({**case.fields, name: value + pad})
            yield Attempt({**case.fields, name: pad + value})
        yield Attempt({**case.fields, name: f" {value} "})


def blank_dropped(case: Case) -> Iterator[Attempt]:
    """Leave out values of white space."""
    yield Attempt({name: value for name, value in case.fields.items() if value.strip()})


def _less(fields: Fields, name: str) -> Fields:
    return {one: value for one, value in fields.items() if one != name}


def as_bytes_of(codec: str) -> Callable[[Case], Iterable[Attempt]]:
    """Encode the text otherwise."""

    def text(fields: Fields) -> bytes:
        return signed_text(fields).encode(codec, "replace")

    return lambda case: [Attempt(case.fields, text=text)]


def rewritten(rewrite: Rewrite) -> Callable[[Case], Iterable[Attempt]]:
    """Change all values, or one after the other."""

    def attempts(case: Case) -> Iterator[Attempt]:
        for change in rewrite.changes:
            changed = dict(_changed(case.fields, change))
            if changed:
                yield Attempt({**case.fields, **changed})
            if len(changed) > 1:
                for name, new in changed.items():
                    yield Attempt({**case.fields, name: new})

    return attempts


def _changed(fields: Fields, change: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if name not in SIGNS:
            with suppress(UnicodeError):
                new = change(value)
                if new != value:
                    yield name, new
