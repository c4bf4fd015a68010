"""
Read one field, strictly: ids, amounts, times, of APIv2's text and of APIv3's JSON.

Where Python is generous with digits (``int(" 1")``, ``int("1_0")``,
``"²".isdigit()``, ``True == 1``), this file is not. What decides about money is
refused when it is odd; what only informs is None then, and costs no payment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from .errors import BadField, MissingField, shown

if TYPE_CHECKING:
    from datetime import datetime

#: ASCII letters and digits.
ALPHANUMERIC: Final = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DIGITS: Final = frozenset("0123456789")
_ORDER: Final = ALPHANUMERIC | set("_-|*@")
# Characters and greatest length of what goes into keys.
_SHAPES: Final = {
    "mch_id": (ALPHANUMERIC, 32),
    "out_trade_no": (_ORDER, 32),
    "transaction_id": (ALPHANUMERIC, 64),
    "trade_state": (ALPHANUMERIC | {"_"}, 32),
    "refund_id": (ALPHANUMERIC, 64),
    "out_refund_no": (_ORDER, 64),
    "contract_id": (ALPHANUMERIC | {"_", "-"}, 64),
    "event_id": (ALPHANUMERIC | {"-", "_"}, 64),
    "order_id": (ALPHANUMERIC | {"_", "-"}, 64),
    "out_order_no": (_ORDER, 64),
    "event_type": (ALPHANUMERIC | {"_", "."}, 64),
}
_FEE_PLACES: Final = 16
#: More than any amount.
TOO_MUCH: Final = 10**_FEE_PLACES
_INDEX_PLACES: Final = 4


def require(fields: Mapping[str, Any], names: Iterable[str], what: str) -> None:
    """Raise ``MissingField`` for those of *names* that are absent, empty or null: this is not *what* then."""
    missing = [name for name in names if fields.get(name) in (None, "")]
    if missing:
        raise MissingField(f"{', '.join(missing)} absent or empty: this is not {what}")


def shaped(name: str, text: str, wire_name: str = "") -> str:
    """Return *text*, or raise ``BadField`` if it has not the characters and length of a *name*."""
    characters, longest = _SHAPES[name]
    if len(text) > longest or not characters.issuperset(text):
        raise BadField(f"{wire_name or name} is {shown(text)}, which is not the shape of one")
    return text


def number(text: str, places: int = _FEE_PLACES) -> int | None:
    """Read plain ASCII digits without leading zeros; None if *text* is anything else."""
    plain = 0 < len(text) <= places and _DIGITS.issuperset(text) and (text[0] != "0" or text == "0")
    return int(text) if plain else None


def index(text: str) -> int | None:
    """Read the number at the end of a name such as ``coupon_id_10``; None if it is none."""
    return number(text, _INDEX_PLACES)


def amount_text(name: str, text: str | None) -> int | None:
    """
    Read an amount of APIv2 in the currency's smallest unit; None if it is absent.

    Raises:
        BadField: If it is anything but the plain digits of a positive number, at most 16.
    """
    if text is None:
        return None
    return _positive(name, text, number(text))


def amount(name: str, value: object) -> int | None:
    """
    Read an amount of APIv3, or of JSON inside APIv2, in the currency's smallest unit; None if it is absent.

    Raises:
        BadField: If it is anything but a positive integer of at most 16 places:
            text, 100.0 and true, which equal one elsewhere, among them.
    """
    return None if value is None else _positive(name, value, value if type(value) is int else None)


def _positive(name: str, value: object, read: int | None) -> int:
    if read is None or not 0 < read < TOO_MUCH:
        raise BadField(f"{name} is {_odd(value)}, expected an amount in the currency's smallest unit")
    return read


def informative(value: object) -> int | None:
    """Read an amount that decides nothing: None if it is absent or odd."""
    read = number(value) if isinstance(value, str) else value
    return read if type(read) is int and 0 <= read < TOO_MUCH else None


def _odd(value: object) -> str:
    if type(value) is int:
        return str(value) if abs(value) < TOO_MUCH else "a huge number"
    return shown(value)


def text(content: Mapping[str, Any], *path: str) -> str:
    """
    Read a text of APIv3's JSON.

    Args:
        content: The object.

        path: Names, one inside the other.

    Returns:
        The text; empty where it, or an object around it, is absent or null.

    Raises:
        BadField: If it is there and no text.
    """
    value: object = inside(content, *path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadField(f"{'.'.join(path)} is {_odd(value)}, expected text")
    return value


def inside(content: Mapping[str, Any], *path: str) -> Any:
    """Give what stands at *path* in APIv3's JSON; None where it, or an object around it, is absent."""
    value: Any = content
    for depth, name in enumerate(path):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise BadField(f"{'.'.join(path[:depth])} is {_odd(value)}, expected an object")
        value = cast("Mapping[str, Any]", value).get(name)
    return value


def beijing(text: str) -> datetime | None:
    """Read ``yyyyMMddHHmmss`` or ``yyyy-MM-dd HH:mm:ss`` at UTC+8; None if it is neither."""
    digits = text
    if len(text) == len("yyyy-MM-dd HH:mm:ss"):
        digits = text[0:4] + text[5:7] + text[8:10] + text[11:13] + text[14:16] + text[17:19]
        if text[4] + text[7] + text[10] + text[13] + text[16] != "-- ::":
            return None
    if len(digits) != len("yyyyMMddHHmmss") or not _DIGITS.issuperset(digits):
        return None
    from datetime import datetime, timedelta, timezone

    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
    try:
        return datetime(
            int(digits[:4]), month, day, hour, minute, second, tzinfo=timezone(timedelta(hours=8))
        )
    except ValueError:
        return None


def moment(text: str) -> datetime | None:
    """Read a time of APIv3, RFC 3339 or ``yyyyMMddHHmmss``; None if it is neither, or has no offset."""
    from datetime import datetime

    if len(text) > len("2018-06-08T10:34:56.123456+08:00") or not text.isascii():
        return None
    try:
        # Python 3.10 reads neither a Z nor one digit of a fraction.
        read = datetime.fromisoformat(_in_full(text))
    except ValueError:
        return beijing(text)
    return read if read.tzinfo is not None else beijing(text)


def _in_full(text: str) -> str:
    head, point, rest = text.replace("Z", "+00:00").partition(".")
    if not point:
        return head
    fraction, sign, offset = rest.partition("+") if "+" in rest else rest.partition("-")
    return f"{head}.{fraction.ljust(6, '0')[:6]}{sign}{offset}"
