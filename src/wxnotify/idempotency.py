"""
The contract of a store: who may handle a notification, and who already did.

A notification's key is in one of four situations::

    absent --claim--> pending --complete--> done
                      |     ^
                  release   claim (after release, or once the lease ran out)
                      v     |
                    released

:func:`judge` is that picture as code; a store applies it in one atomic step, on
its own clock. The rules behind it, each with the accident it prevents:

1. The caller makes the **owner** token, so a claim or a completion whose
   acknowledgement was lost is simply repeated: the owner finds its own claim.
2. Every verb after ``claim`` compares owner *and* **generation** (one more at
   every new holder). Whoever lost its lease gets LOST, and can neither complete
   nor free what its successor holds.
3. A lease is finite and mandatory: a holder that died is taken over.
4. The **fingerprint** is written once, at the first claim, and compared in every
   situation: the same key with other content is MISMATCH, never a duplicate.
5. Done is final. Only :meth:`Store.purge` removes a row, and only a done one,
   after WeChat Pay has stopped sending.
6. Expected outcomes are values. An exception means that the store could not
   answer, and the delivery is told FAIL.

To write a store, implement :class:`Store` or :class:`AsyncStore`; the guarantee
of each store that comes with the library is in ``docs/stores.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, runtime_checkable

from .errors import ConfigurationError, StoreError, shown

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "LEASE_SECONDS",
    "MIN_RETAIN_SECONDS",
    "QUEUED",
    "RETAIN_SECONDS",
    "AsyncBound",
    "AsyncStore",
    "AsyncTransactionalStore",
    "Bound",
    "Claim",
    "ClaimOutcome",
    "CompleteOutcome",
    "Record",
    "ReleaseOutcome",
    "Row",
    "State",
    "Store",
    "TransactionalStore",
    "check_key",
    "check_lease",
    "check_purge",
    "check_result",
    "check_retain",
    "cut_error",
    "cut_order_no",
    "judge",
]

#: Default lease. Resends come 15, 30 and 60 s after the first notification: a
#: holder that crashed is taken over by the third.
LEASE_SECONDS: Final = 30.0
#: Default time a done claim is kept: 30 days.
RETAIN_SECONDS: Final = 30 * 86_400.0
#: The least: WeChat Pay sends for 24 h 4 min, and a claim forgotten sooner is a payment handled twice.
MIN_RETAIN_SECONDS: Final = 48 * 3_600.0
#: The result of a completion that put the work into an inbox: what is done is that it was queued.
QUEUED: Final = "queued"
# What "for ever" is stored as: 3,000 years, which every backend can add to its clock.
_FOR_EVER: Final = 3_000 * 366 * 86_400.0
#: Far above any natural key, and a size every backend can index whole.
_MAX_KEY_BYTES: Final = 1024
_MAX_ERROR_CHARACTERS: Final = 512
_MAX_ORDER_CHARACTERS: Final = 64
_MAX_RESULT_CHARACTERS: Final = 256


class ClaimOutcome(Enum):
    """What came of a claim."""

    #: Yours: handle the notification, then complete or release.
    ACQUIRED = "acquired"
    #: Another delivery holds it. Never say SUCCESS: if that one fails, nothing would come again.
    IN_PROGRESS = "in_progress"
    #: Handled before.
    COMPLETED = "completed"
    #: The key was claimed with other content.
    MISMATCH = "mismatch"


class CompleteOutcome(Enum):
    """What came of a completion."""

    DONE = "done"
    #: This same claim was completed before: the acknowledgement had been lost.
    ALREADY = "already"
    #: Somebody else holds or completed it.
    LOST = "lost"


class ReleaseOutcome(Enum):
    """What came of a release."""

    RELEASED = "released"
    #: This same claim was released before: the acknowledgement had been lost.
    ALREADY = "already"
    #: It is done, or somebody else holds it.
    LOST = "lost"


class State(Enum):
    """Where a key stands in the store."""

    PENDING = "pending"
    RELEASED = "released"
    DONE = "done"


class Claim(NamedTuple):
    """The answer to ``claim``; what the later verbs take."""

    key: str
    owner: bytes
    outcome: ClaimOutcome
    #: Rises by one with every new holder: the fencing token.
    generation: int
    #: How often the key was claimed, this time included.
    attempts: int
    #: What the completion said; only where the outcome is COMPLETED.
    result: str = ""


class Record(NamedTuple):
    """What a store knows of a key, for a person to read."""

    key: str
    #: What the merchant calls the order; empty where the claim named none.
    order_no: str
    state: State
    generation: int
    attempts: int
    #: Aware, UTC, on the store's clock.
    first_seen: datetime
    #: When it last changed.
    updated: datetime
    #: When the present lease runs out; only of interest while pending.
    lease_until: datetime
    #: What the last failed handler raised; empty if none did.
    last_error: str
    #: Of the content it was first claimed with, 32 bytes.
    fingerprint: bytes
    #: What the completion said; empty where it said nothing, and while there is none.
    result: str


class Row(NamedTuple):
    """What :func:`judge` needs of a stored key."""

    state: State
    fingerprint: bytes
    owner: bytes
    generation: int
    attempts: int
    #: On the same clock as the *now* it is compared with.
    lease_until: float
    #: What the completion said.
    result: str = ""


def judge(row: Row | None, *, key: str, fingerprint: bytes, owner: bytes, now: float) -> Claim:
    """
    Decide a claim. Pure: the store writes what it says when the outcome is ACQUIRED.

    Args:
        row: What is stored under *key*, or None.

        key: The natural key.

        fingerprint: Of the notification that is being claimed.

        owner: The claimant's token.

        now: The store's clock, in seconds.

    Returns:
        The claim, with the generation and attempts to store if it is ACQUIRED.
    """
    if row is None:
        return Claim(key, owner, ClaimOutcome.ACQUIRED, 1, 1)
    if row.fingerprint != fingerprint:
        outcome = ClaimOutcome.MISMATCH
    elif row.state is State.DONE:
        return Claim(key, owner, ClaimOutcome.COMPLETED, row.generation, row.attempts, row.result)
    elif row.state is State.PENDING and row.owner == owner:
        # The same delivery asks again because it never saw the answer.
        outcome = ClaimOutcome.ACQUIRED
    elif row.state is State.PENDING and row.lease_until > now:
        outcome = ClaimOutcome.IN_PROGRESS
    else:
        # Released after a failure, or its holder died or overran the lease.
        return Claim(key, owner, ClaimOutcome.ACQUIRED, row.generation + 1, row.attempts + 1)
    return Claim(key, owner, outcome, row.generation, row.attempts)


def check_lease(lease: float) -> float:
    """Return *lease* in seconds, or raise ``ConfigurationError`` if it is not a finite, positive number."""
    if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0 < lease < 86_400:
        raise ConfigurationError("a lease is a number of seconds, more than 0 and less than a day")
    return lease


def check_retain(retain: float) -> float:
    """
    Return *retain* in seconds, or raise ``ConfigurationError`` if it is under 48 hours.

    Infinity means for ever, and is cut to what every backend can add to its clock.
    """
    try:
        seconds = 0.0 if isinstance(retain, (bool, str)) else float(retain)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if not seconds >= MIN_RETAIN_SECONDS:
        raise ConfigurationError(
            "done claims are kept for at least 48 h (172800 seconds): WeChat Pay sends for 24 h 4 min, "
            "and a claim forgotten sooner is a payment handled twice"
        )
    return min(seconds, _FOR_EVER)


def check_key(key: str) -> str:
    """Return *key*, or raise ``StoreError`` if it is not 1 to 1024 bytes of UTF-8, or holds a NUL."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_KEY_BYTES or "\0" in key:
        # Never cut to fit: two keys with one beginning would become one payment.
        # No natural key has a NUL, which XML cannot hold and PostgreSQL neither.
        raise StoreError(f"key {shown(key)}: a key is 1 to 1024 bytes of UTF-8, without NUL")
    return key


def check_purge(older_than: float, limit: int) -> None:
    """Raise ``ConfigurationError`` if *older_than* is under 48 hours (in seconds) or *limit* under 1."""
    try:
        check_retain(older_than)
    except ConfigurationError as error:
        raise ConfigurationError(f"older_than (in seconds) is too short: {error}") from None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError("limit is how many claims one purge may forget, at least 1")


def check_result(result: str) -> str:
    """Return *result*, or raise ``StoreError`` if it is over 256 characters, or holds what does not print."""
    # Never cut to fit: half a prepay_id is none.
    if not isinstance(result, str) or len(result) > _MAX_RESULT_CHARACTERS or not result.isprintable():
        raise StoreError("a result is at most 256 characters that print")
    return result


def cut_error(error: str) -> str:
    """Return the first 512 characters of *error*, as text that any database can hold."""
    return _storable(error[:_MAX_ERROR_CHARACTERS])


def cut_order_no(order_no: str) -> str:
    """Return the first 64 characters of *order_no*, as text that any database can hold."""
    return _storable(order_no[:_MAX_ORDER_CHARACTERS])


def _storable(text: str) -> str:
    return text.replace("\0", "?").encode("utf-8", "replace").decode()


@runtime_checkable
class Store(Protocol):
    """
    The blocking store protocol.

    Every method may raise :class:`~wxnotify.errors.StoreUnavailable`; it does so
    within a bounded time rather than wait.
    """

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """
        Ask for the exclusive right to handle *key*; one atomic step, on the store's clock.

        Args:
            key: The natural key, compared byte for byte.

            fingerprint: 32 bytes.

            owner: 16 random bytes, new for each delivery.

            lease: Seconds until another delivery may take over.

            order_no: What the merchant calls the order, for a person to search
                by. Kept from the first claim; it decides nothing.

        Returns:
            The claim; look at its ``outcome``.
        """
        ...

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """
        Record that the work is done, if the claim is still yours.

        A lease that ran out while nobody took over does not matter.

        Args:
            claim: An ACQUIRED claim.

            retain: Seconds to remember it, at least 48 hours.

            result: At most 256 printing characters, for whoever claims the key
                later: they are in a COMPLETED claim. Written with the
                completion or not at all.

        Raises:
            ConfigurationError: If *retain* is too short.

            StoreError: If *result* is too long, or does not print.
        """
        ...

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """
        Give the claim back after a failure; the next delivery gets it.

        The row stays, with its attempts and *error* (the store may cut it).
        """
        ...

    def extend(self, claim: Claim, lease: float) -> bool:
        """Let the lease run *lease* seconds from now; False if the claim is lost."""
        ...

    def purge(self, older_than: float, limit: int) -> int:
        """
        Forget at most *limit* claims done more than *older_than* seconds ago whose retention has passed.

        Returns:
            How many. Call again while it is *limit*.

        Raises:
            ConfigurationError: If *older_than* is under 48 hours.
        """
        ...

    def find(self, key: str) -> Record | None:
        """Look up what is known of *key*, without changing it."""
        ...

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """
        Go through what is stored, for a person to see; what is stuck or failed above all.

        Reads in batches and holds no lock between them, so what changes
        meanwhile may be missed or seen as it was.

        Args:
            state: Only these; all if left out.

            order_no: Only those of this order.

            older_than: Only what has not changed for so many seconds, on the
                store's clock.

        Returns:
            The records, each once. In SQL stores those of one state come longest
            unchanged first; all of them, or those of an order, by their keys.
        """
        ...


class Bound(Protocol):
    """A store inside the caller's open transaction; made by ``bind``."""

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """
        Record the completion as part of the caller's transaction: make it the last statement.

        Returns:
            DONE, or ALREADY when repeated on this same object.

        Raises:
            ClaimLost: If the claim is no longer yours, or was completed by an
                earlier transaction. Let it roll yours back.

            ConfigurationError: If the transaction the store was bound to has
                ended meanwhile.
        """
        ...


@runtime_checkable
class TransactionalStore(Store, Protocol):
    """A store that can complete inside the transaction that changes the order."""

    def bind(self, connection: Any) -> Bound:
        """
        Tie a completion to the caller's transaction.

        Never begins, commits or rolls back.

        Args:
            connection: The caller's connection, inside a transaction, on the
                database this store uses.

        Raises:
            ConfigurationError: If the connection cannot give the promise: it is
                not in a transaction, or on another database.
        """
        ...


class AsyncStore(Protocol):
    """The store protocol for an event loop: the same verbs, awaited."""

    async def claim(
        self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = ""
    ) -> Claim:
        """See :meth:`Store.claim`."""
        ...

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`Store.complete`."""
        ...

    async def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`Store.release`."""
        ...

    async def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`Store.extend`."""
        ...

    async def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`Store.purge`."""
        ...

    async def find(self, key: str) -> Record | None:
        """See :meth:`Store.find`."""
        ...

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> AsyncIterator[Record]:
        """See :meth:`Store.records`."""
        ...


class AsyncBound(Protocol):
    """A store inside the caller's open transaction, for an event loop; made by ``bind``."""

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`Bound.complete`."""
        ...


class AsyncTransactionalStore(AsyncStore, Protocol):
    """An asynchronous store that can complete inside the transaction that changes the order."""

    def bind(self, connection: Any) -> AsyncBound:
        """See :meth:`TransactionalStore.bind`."""
        ...
