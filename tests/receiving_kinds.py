"""A merchant with a handler for every kind, and an APIv3 dialect without a cipher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wxnotify import Event, Key, Merchant, Notification, Reply, VerifiedResource
from wxnotify._fields import require
from wxnotify._headers import Headers
from wxnotify._kinds import KINDS
from wxnotify._resources import read_json
from wxnotify.errors import NotifyError
from wxnotify.testing import APPID, KEY, MCH_ID

from .receiving import Shop


class EveryKind(Shop):
    """
    A merchant who takes every kind, or the *kinds* that are named.

    ``answer`` is what a scan's handler returns.
    """

    def __init__(self, *kinds: str, answer: object = None, **options: Any) -> None:
        self.kinds = kinds or KINDS
        self.answer = answer
        super().__init__(**options)

    def register(self) -> None:
        for kind in self.kinds:
            self.receiver.on(kind)(self.take)

    def take(self, notification: Any) -> object:
        self.handle(notification)
        return self.answer

    def tell(self, body: bytes, headers: Headers | None = None) -> tuple[Reply, list[Event]]:
        """Give a request to the receiver; its reply, and what was reported of it."""
        before = len(self.events)
        reply = self.receiver.receive(body, headers)
        return reply, self.events[before:]

    def codes(self, body: bytes, headers: Headers | None = None) -> list[str]:
        return [event.code for event in self.tell(body, headers)[1]]

    @property
    def told(self) -> list[Notification]:
        return list(self.handled)


class Told:
    """
    APIv3 without signature or cipher: what is posted is the resource, and names its event.

    It shows what the receiver does after the dialect; the dialect has its own tests.
    """

    def __init__(self, refusal: NotifyError | None = None) -> None:
        self.keys: tuple[Key, ...] = ()
        self.refusal = refusal
        self.seen: list[tuple[Headers, float]] = []

    def open(
        self, merchants: Sequence[Merchant], body: bytes, headers: Headers, now: float
    ) -> VerifiedResource:
        self.seen.append((headers, now))
        if self.refusal is not None:
            raise self.refusal
        posted = read_json(body)
        require(posted, ("id", "event_type", "resource"), "what a test posts")
        return VerifiedResource._make(
            posted["resource"],
            mch_id=posted.get("mch_id", merchants[0].mch_id),
            serial="F0",
            key_index=0,
            notification_id=posted["id"],
            event_type=posted["event_type"],
            original_type=posted.get("original_type", ""),
        )


def posted(event_type: str, content: Mapping[str, Any], **envelope: Any) -> bytes:
    """Write what :class:`Told` reads."""
    return json.dumps(
        {"id": "EV-1", "event_type": event_type, "resource": dict(content), **envelope}
    ).encode()


def both(*, keys: Any = KEY, dialect: Any = None, **options: Any) -> Merchant:
    """Make a merchant of both dialects."""
    return Merchant(MCH_ID, APPID, keys, apiv3=dialect or Told(), **options)
