"""
What all notifications have in common: immutable, and each knows its key and its fingerprint.

A notification's **key** says what happened in the world, the same whether a
notification of either dialect or an order query told us, and holds the result,
so that a failed attempt never uses up the key of the payment that follows. Its
**fingerprint** is a digest of the business content, and compares two messages
that claim the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeVar

from .errors import shown

if TYPE_CHECKING:
    from ._decrypted import Decrypted
    from ._resources import VerifiedResource
    from ._signature import Verified

    #: What a notification was read from: nothing less.
    Source = Verified | Decrypted | VerifiedResource

_Kind = TypeVar("_Kind", bound="Notification")


class Notification:
    """
    Something WeChat Pay told, as a typed, frozen view over fields that were authenticated.

    Its ``repr`` shows ids and amounts, and nothing about the payer. Two are equal
    if they tell the same: one class, one key, one fingerprint.
    """

    __slots__ = (
        "appid",
        "dialect",
        "event_type",
        "fields",
        "fingerprint",
        "key",
        "mch_id",
        "out_trade_no",
        "result",
        "sub_mch_id",
        "transaction_id",
    )

    #: What handlers are registered by. An APIv3 event without a class of its own has its event type.
    kind: str
    #: The slots that ``repr`` shows.
    _shown: ClassVar[tuple[str, ...]] = ("key",)

    #: Every field, the unknown ones too; of which type, each class says.
    fields: Any
    #: The dialect it came in.
    dialect: Literal["APIv2", "APIv3"]
    #: APIv3's ``event_type``, or a rent or hotel event's; empty where there is none.
    event_type: str
    #: The natural key. The part before the first ``/`` is the kind.
    key: str
    #: 32 bytes: SHA-256 over the business content.
    fingerprint: bytes
    #: What came of it; each class says which words it knows.
    result: str
    appid: str
    #: In service-provider mode the provider's id.
    mch_id: str
    sub_mch_id: str
    #: The merchant's order number; empty where no order is concerned.
    out_trade_no: str
    #: WeChat Pay's number of the payment; empty where there is none.
    transaction_id: str

    def __init__(self) -> None:
        raise TypeError(f"a {type(self).__name__} is made from authenticated fields alone")

    @classmethod
    def _make(cls: type[_Kind], source: Source, values: Mapping[str, Any]) -> _Kind:
        made = cls.__new__(cls)
        given = {
            "dialect": "APIv2",
            "event_type": "",
            "appid": "",
            "sub_mch_id": "",
            "out_trade_no": "",
            "transaction_id": "",
            **values,
            "fields": source,
        }
        for name, value in given.items():
            object.__setattr__(made, name, value)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is what WeChat Pay said; {name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is what WeChat Pay said; {name} cannot be removed")

    def __reduce__(self) -> tuple[Any, ...]:
        names = [name for one in type(self).__mro__ for name in getattr(one, "__slots__", ())]
        return _restored, (type(self), {name: getattr(self, name) for name in names})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Notification):
            return NotImplemented
        return type(self) is type(other) and self.key == other.key and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.key, self.fingerprint))

    def __repr__(self) -> str:
        said = " ".join(f"{name}={_plain(getattr(self, name))}" for name in self._shown)
        return f"<{type(self).__name__} {said}>"


def _plain(value: object) -> str:
    return shown(value)[1:-1] if isinstance(value, str) else str(value)


def _restored(kind: type[_Kind], values: dict[str, Any]) -> _Kind:
    return kind._make(values.pop("fields"), values)


def check_source(source: object, wanted: type, reader: str) -> None:
    """Raise ``TypeError`` if *source* is not what the notification that *reader* reads is made from."""
    if not isinstance(source, wanted):
        raise TypeError(
            f"{reader} takes a {wanted.__name__}, not {type(source).__name__}: "
            "fields that nobody authenticated prove nothing"
        )


def digest(content: Iterable[str]) -> bytes:
    """Give the SHA-256 of texts, their lengths with them, so that no two lists run into one text."""
    text = "".join([f"{len(part)}:{part}" for part in content])
    return hashlib.sha256(text.encode("utf-8")).digest()
