"""
Slow work: answer now, handle later, in an engine of your own.

A handler that asks an ERP, prints or sends does not fit into the 5 s WeChat Pay
waits. With an inbox the notification is inserted in the transaction that
completes its claim; then SUCCESS is durably true, because the work is, and it is
said. The work itself is done by whatever does your work already: Celery,
Dramatiq, RQ, procrastinate, arq. There is no worker here, and no loop.

    delivery   claim K, then in one transaction: insert K into the inbox, complete K
               commit, dispatch(ref), SUCCESS
    engine     receiver.work(ref): claim work/K, handler, complete work/K, remove K
    sweeper    receiver.sweep(): dispatch again what is still in the inbox

``ref`` is the natural key. The work has a claim of its own, so an engine that
delivers a task twice, or a sweeper that was too early, does no harm: the second
finds it done, or in progress. And a process that dies between the commit and the
dispatch loses nothing: what is in the inbox stays there until it is worked.

What is stored is what WeChat Pay told, decrypted, the payer's openid with it; it
is removed when the work is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ._decrypted import Decrypted
from ._kinds import read_answer, read_resource, read_verified
from ._pay_after import PayAfter
from ._refunds import Refund
from ._resources import VerifiedResource
from ._signature import Verified
from .errors import StoreError, shown
from .idempotency import AsyncBound, AsyncTransactionalStore, Bound, TransactionalStore

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ._notifications import Notification

__all__ = ["AsyncInboxBound", "AsyncInboxStore", "Dispatcher", "Inbox", "InboxBound", "InboxStore"]

#: What is still in the inbox after this long is dispatched again.
AGAIN_AFTER_SECONDS: Final = 60.0
_LONGEST_AGAIN_SECONDS: Final = 6 * 3_600.0
_WORK: Final = "work/"


class Dispatcher(Protocol):
    """
    Hand a piece of work to an engine; any function of a text will do.

    ``task.delay`` of Celery is one, ``actor.send`` of Dramatiq another. It is
    called after the commit, and may be a coroutine function.
    """

    def __call__(self, ref: str, /) -> object:
        """Make the engine call ``receiver.work(ref)``, now or later, once or more."""
        ...


class Inbox(NamedTuple):
    """
    How the work of a kind is handed over: for ``receiver.on("payment", inbox=Inbox(task.delay))``.

    Give ``within`` where the engine's queue is in the same database, as
    procrastinate's can be: the task is then queued in the transaction itself, and
    there is no gap for the sweeper to close.
    """

    #: Called with the ref after the commit, and by the sweeper.
    dispatch: Dispatcher
    #: Called instead with the ref and the transaction's connection, inside the transaction.
    within: Any = None
    #: Seconds after which the sweeper dispatches what is still in the inbox;
    #: each time twice as long. Longer than work usually waits in your queue.
    again_after: float = AGAIN_AFTER_SECONDS

    def again_in(self, hand_overs: int) -> float:
        """Give the seconds until the sweeper's next try, after so many of them."""
        return min(
            self.again_after * 2.0 ** min(hand_overs, 20), max(_LONGEST_AGAIN_SECONDS, self.again_after)
        )


class InboxBound(Bound, Protocol):
    """A store inside an open transaction, that can insert into the inbox too."""

    def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """
        Insert a notification, as part of the caller's transaction; one that is there stays as it is.

        Args:
            key: The natural key.

            notification: To be given back by :meth:`InboxStore.fetch`.

            again_in: Seconds until it is due.
        """
        ...


class InboxStore(TransactionalStore, Protocol):
    """A store that keeps notifications until they are worked."""

    def transaction(self) -> AbstractContextManager[Any]:
        """Open a transaction on the store's database, and give its connection; commits at the end."""
        ...

    def bind(self, connection: Any) -> InboxBound:
        """See :meth:`wxnotify.idempotency.TransactionalStore.bind`."""
        ...

    def fetch(self, key: str) -> bytes | None:
        """Give a notification; None if it is not in the inbox (any more)."""
        ...

    def due(self, limit: int) -> list[tuple[str, int]]:
        """Give at most *limit* keys that are due, longest first, each with how often it was handed over."""
        ...

    def handed(self, key: str, *, again_in: float) -> None:
        """Count a hand-over; it is due again in so many seconds."""
        ...

    def remove(self, key: str) -> None:
        """Forget a notification that was worked; one that is not there is no error."""
        ...


class AsyncInboxBound(AsyncBound, Protocol):
    """As :class:`InboxBound`, awaited."""

    async def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`InboxBound.put`."""
        ...


class AsyncInboxStore(AsyncTransactionalStore, Protocol):
    """As :class:`InboxStore`, awaited."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """See :meth:`InboxStore.transaction`."""
        ...

    def bind(self, connection: Any) -> AsyncInboxBound:
        """See :meth:`wxnotify.idempotency.TransactionalStore.bind`."""
        ...

    async def fetch(self, key: str) -> bytes | None:
        """See :meth:`InboxStore.fetch`."""
        ...

    async def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`InboxStore.due`."""
        ...

    async def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`InboxStore.handed`."""
        ...

    async def remove(self, key: str) -> None:
        """See :meth:`InboxStore.remove`."""
        ...


def work_key(ref: str) -> str:
    """Give the key that the work on *ref* is claimed under."""
    return _WORK + ref


def kind_of(ref: str) -> str:
    """Give the kind of notification that *ref* names."""
    return ref.partition("/")[0]


def pack(notification: Notification) -> bytes:
    """Write down what WeChat Pay told, to be read by :func:`unpack`."""
    import json

    source = notification.fields
    stored: dict[str, Any] = {"key_index": source.key_index, "mch_id": source.mch_id}
    if isinstance(source, VerifiedResource):
        stored |= {name: getattr(source, name) for name in _ATTRIBUTES}
        stored["resource"] = dict(source)
    elif isinstance(source, Decrypted):
        stored |= {"decrypted": dict(source), "sandbox": source.sandbox}
        stored["unauthenticated"] = dict(source.unauthenticated)
    else:
        stored |= {"fields": dict(source), "sign_type": source.sign_type, "sandbox": source.sandbox}
        if isinstance(notification, PayAfter):
            stored |= {"content": dict(notification.content), "apiv3_key_index": notification.apiv3_key_index}
    return json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode()


_ATTRIBUTES: Final = (
    "notification_id", "event_type", "create_time", "summary", "original_type", "serial",
)  # fmt: skip


def unpack(ref: str, stored: bytes) -> Notification:
    """
    Read a notification back. It was authenticated before it was stored.

    Raises:
        StoreError: If *stored* is not what :func:`pack` wrote for *ref*.
    """
    import json

    found: list[Notification] = []
    try:
        # Of a combined order, the one that was queued.
        found = [one for one in _read(json.loads(stored)) if one.key == ref]
    except Exception:
        found.clear()
    if not found:  # out here, because what was raised may hold what was stored
        raise StoreError(f"ref {shown(ref)}: what the inbox holds is not this notification")
    return found[0]


def _read(stored: dict[str, Any]) -> tuple[Notification, ...]:
    key_index, mch_id = stored["key_index"], stored["mch_id"]
    if "resource" in stored:
        attributes = {name: stored[name] for name in _ATTRIBUTES}
        resource = VerifiedResource._make(
            stored["resource"], mch_id=mch_id, key_index=key_index, **attributes
        )
        return read_resource(resource) if resource.event_type else read_answer(resource)
    if "decrypted" in stored:
        decrypted = Decrypted._make(
            stored["decrypted"],
            stored["unauthenticated"],
            mch_id=mch_id,
            key_index=key_index,
            sandbox=stored["sandbox"],
        )
        return (Refund.from_decrypted(decrypted),)
    verified = Verified._make(stored["fields"], key_index, stored["sign_type"], stored["sandbox"])
    if "content" in stored:
        return (PayAfter._of(verified, stored["content"], stored["apiv3_key_index"]),)
    return read_verified(verified)
