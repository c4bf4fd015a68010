"""
SQLAlchemy stores that made their engine themselves, from a URL, and so look after it.

The engine's pool, which their ``transaction`` takes connections from, would cross
a fork, and two processes would talk on one connection: the child leaves it
behind. Nor would an event loop's connections outlive it: ``close`` closes them.
"""

from __future__ import annotations

import os
import weakref
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from .sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore


class OwningStore(SQLAlchemyStore):
    """
    A store with an engine of its own.

    Args:
        engine: Nobody else's.

        timeout: As for :class:`SQLAlchemyStore`.
    """

    def __init__(self, engine: Engine, *, timeout: float) -> None:
        super().__init__(engine, timeout=timeout)
        self._owned = engine
        _ENGINES.add(engine)

    def close(self) -> None:
        """Close all idle connections of this process. The store can still be used; it opens new ones."""
        super().close()
        self._owned.dispose()


class AsyncOwningStore(AsyncSQLAlchemyStore):
    """The same for an event loop; takes the same arguments."""

    def __init__(self, engine: AsyncEngine, *, timeout: float) -> None:
        super().__init__(engine, timeout=timeout)
        self._owned = engine
        _ENGINES.add(engine.sync_engine)

    async def close(self) -> None:
        """Close all idle connections of this event loop. The store can still be used; it opens new ones."""
        await super().close()
        await self._owned.dispose()


_ENGINES: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()


def _after_fork() -> None:  # pragma: no cover - in a child, which the tests end with _exit
    for engine in list(_ENGINES):
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
