"""
What APIv3 vouches for: a JSON object that came under WeChat Pay's own signature.

:class:`VerifiedResource` is the APIv3 counterpart of :class:`Verified`, and is
made by the APIv3 dialect alone, after the signature over the raw body held and
the resource was decrypted.

JSON is read strictly. Python's own reader takes ``NaN``, guesses UTF-16, lets
the last of two equal names win, and fails with five kinds of exception; a reader
that is generous here sees another payment than the one that was signed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, cast

from .errors import BadJSON, shown

#: Objects and lists inside one another. WeChat Pay's go 5 deep.
_MAX_DEPTH: Final = 32
_TOO_DEEP: Final = f"holds more than {_MAX_DEPTH} objects and lists in one another"
# Digits. Some merchants' numbers of 28 come without quotes; int() gives up at 4300.
_MAX_DIGITS: Final = 64


class VerifiedResource(Mapping[str, Any]):
    """
    An event's resource, decrypted, or a signed answer's body: nothing else makes one.

    A mapping of names to JSON values. Do not change what is inside.

    Its ``repr`` names the event and shows no value.
    """

    __slots__ = (
        "_content",
        "create_time",
        "event_type",
        "key_index",
        "mch_id",
        "notification_id",
        "original_type",
        "serial",
        "summary",
    )

    _content: dict[str, Any]
    #: The configured merchant whose key opened it.
    mch_id: str
    #: The envelope's ``id``; empty for an answer. It need not stay the same from one resend to the next.
    notification_id: str
    #: The envelope's ``event_type``; empty for an answer.
    event_type: str
    #: The envelope's ``create_time``, as it came.
    create_time: str
    summary: str
    #: As in ``transaction``. Under TRANSACTION.SUCCESS it tells ``profitsharing`` from a payment.
    original_type: str
    #: Of the platform key that matched.
    serial: str
    #: Position of the APIv3 key that opened it, from 0; None for an answer, which is not encrypted.
    key_index: int | None

    def __init__(self) -> None:
        raise TypeError(
            "a VerifiedResource is made by the APIv3 dialect alone, from a body whose signature holds"
        )

    @classmethod
    def _make(
        cls,
        content: dict[str, Any],
        *,
        mch_id: str,
        serial: str,
        key_index: int | None = None,
        notification_id: str = "",
        event_type: str = "",
        create_time: str = "",
        summary: str = "",
        original_type: str = "",
    ) -> VerifiedResource:
        made = cls.__new__(cls)
        for name, value in (
            ("_content", content),
            ("mch_id", mch_id),
            ("serial", serial),
            ("key_index", key_index),
            ("notification_id", notification_id),
            ("event_type", event_type),
            ("create_time", create_time),
            ("summary", summary),
            ("original_type", original_type),
        ):
            object.__setattr__(made, name, value)
        return made

    @property
    def sandbox(self) -> bool:
        """Always False: the sandbox speaks APIv2."""
        return False

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a VerifiedResource is what WeChat Pay said; {name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a VerifiedResource is what WeChat Pay said; {name} cannot be removed")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, ({name.lstrip("_"): getattr(self, name) for name in self.__slots__},)

    def __repr__(self) -> str:
        if not self.event_type:
            return "<VerifiedResource answer>"
        return f"<VerifiedResource {shown(self.event_type)} {shown(self.notification_id)}>"


def _restored(values: dict[str, Any]) -> VerifiedResource:
    return VerifiedResource._make(**values)


class _Refused(ValueError):
    """Says what is wrong with the JSON, to :func:`read_json`, and never leaves it."""


def read_json(body: bytes, what: str = "the body") -> dict[str, Any]:
    """
    Read a JSON object, strictly.

    Args:
        body: Its bytes.

        what: What they are, for the message.

    Returns:
        The object. A number with a fraction or an exponent is a float there, and
        no amount: amounts are integers.

    Raises:
        BadJSON: If it is not UTF-8 (a byte order mark is none), not JSON, no
            object; if a name is there twice in one object, a number is not finite
            or has over 64 digits, text holds half a surrogate pair, or objects
            and lists stand more than 32 deep in one another.

    Example:
        >>> read_json(b'{"amount": {"total": 100}}')
        {'amount': {'total': 100}}
    """
    try:
        return _object(body)
    except _Refused as refused:
        problem = str(refused)
    except UnicodeDecodeError:
        problem = "is not UTF-8"
    except ValueError:
        problem = "is not JSON"
    except RecursionError:
        problem = _TOO_DEEP
    del body  # out here and without it, because the errors of the reader hold what was read
    raise BadJSON(f"{what} {problem}")


def _object(body: bytes) -> dict[str, Any]:
    import json  # not at the top: APIv2 alone has no use for it, and it costs start-up

    text = body.decode("utf-8")
    content: object = json.loads(
        text,
        object_pairs_hook=_distinct,
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_short,
    )
    if not isinstance(content, dict):
        raise _Refused("is JSON, but no object")
    read = cast("dict[str, Any]", content)
    if _is_deep(read):
        raise _Refused(_TOO_DEEP)
    if "\\u" in text:
        # Half a pair can only have come as an escape, and UTF-8 cannot carry it.
        try:
            json.dumps(read, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise _Refused("holds half a surrogate pair") from None
    return read


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise _Refused("has a name twice in one object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"holds {name}, which is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused("holds a number too large")
    return number


def _short(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _Refused("holds a number too large")
    return int(digits)


def _is_deep(content: dict[str, Any]) -> bool:
    level: list[Any] = [content]
    for _ in range(_MAX_DEPTH):
        inside: list[Any] = []
        for one in level:
            inside += one.values() if isinstance(one, dict) else one
        level = [one for one in inside if isinstance(one, (dict, list))]
        if not level:
            return False
    return True
