"""
Stores with a mistake in them, each one that somebody has made, to see that a run finds it out.

``--break NAME`` puts one between the receiver and a real, blocking store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from ...errors import ClaimLost
from ...idempotency import Claim, ClaimOutcome, CompleteOutcome

#: How often ``forget`` forgets.
_FORGETS: Final = 0.02


class Mistaken:
    """A store that does all as the real one does; what follows differ in one thing each."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Apart(Mistaken):
    """Record the completion after the commit, and not in the same transaction."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self._held: ContextVar[tuple[Claim, float, str]] = ContextVar("held")

    def bind(self, connection: Any) -> Any:
        """Bind to nothing."""
        return self

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """Only remember that it is to be done."""
        self._held.set((claim, retain, result))
        return CompleteOutcome.DONE

    @contextmanager
    def transaction(self) -> Generator[Any]:
        """Commit, and complete then."""
        with self._store.transaction() as connection:
            yield connection

    def find(self, key: str) -> Any:
        """Complete at last."""
        claim, retain, result = self._held.get()
        self._store.complete(claim, retain=retain, result=result)
        return self._store.find(key)


class Unfenced(Mistaken):
    """Let a holder that was taken over complete all the same."""

    def bind(self, connection: Any) -> Any:
        """Bind with no fence."""
        return _UnfencedBound(self._store.bind(connection))


class _UnfencedBound(Mistaken):
    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        try:
            outcome: CompleteOutcome = self._store.complete(claim, retain=retain, result=result)
            return outcome
        except ClaimLost:
            return CompleteOutcome.DONE


class Hasty(Mistaken):
    """Take a payment for done that somebody else is at."""

    def claim(self, key: str, **named: Any) -> Claim:
        """Claim."""
        claim: Claim = self._store.claim(key, **named)
        if claim.outcome is ClaimOutcome.IN_PROGRESS:
            return claim._replace(outcome=ClaimOutcome.COMPLETED)
        return claim


class Forgetful(Mistaken):
    """Forget now and then that a payment is done, as a cache under pressure does."""

    def claim(self, key: str, **named: Any) -> Claim:
        """Claim."""
        claim: Claim = self._store.claim(key, **named)
        if claim.outcome is ClaimOutcome.COMPLETED and random.random() < _FORGETS:  # noqa: S311
            return claim._replace(outcome=ClaimOutcome.ACQUIRED, generation=claim.generation + 1)
        return claim


MISTAKES: Final[dict[str, Callable[[Any], Mistaken]]] = {
    "completion-apart": Apart,
    "unfenced": Unfenced,
    "success-in-progress": Hasty,
    "forget": Forgetful,
}
