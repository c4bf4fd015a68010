"""
A store named by one URL, as settings files and commands have it.

========================================  ==========================================
URL                                       store
========================================  ==========================================
``sqlite:///shop.db``                     :class:`~wxnotify.stores.sqlite.SQLiteStore`; four slashes for
                                          an absolute path
``redis://host:6379/0``                   ``wxnotify.stores.redis``; also ``rediss``, ``valkey``, ``valkeys``
``postgresql://user:password@host/shop``  ``wxnotify.stores.sqlalchemy``; with a driver of your choice as
                                          ``postgresql+asyncpg``, ``mysql+pymysql``, ``mariadb+asyncmy``, ...
========================================  ==========================================

Only what a URL needs is imported. No error shows more of a URL than its scheme,
because the rest may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError, shown

if TYPE_CHECKING:
    from ..idempotency import AsyncStore, Store

__all__ = ["open_async_store", "open_store"]

#: By database, the drivers that are taken where the URL names none: blocking, and for an event loop.
_DRIVERS: Final = {
    "postgresql": ("psycopg", "psycopg"),
    "mysql": ("pymysql", "asyncmy"),
    "mariadb": ("pymysql", "asyncmy"),
}
#: What redis-py takes, by scheme.
_REDIS: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
_URL: Final = re.compile(r"([a-z][a-z0-9]*(?:\+[a-z0-9_]+)?)://", re.ASCII)
_KNOWN: Final = (
    "sqlite:///FILE, postgresql://..., mysql://..., mariadb://... (or with a driver, as "
    "postgresql+psycopg://...), redis://... and valkey://..."
)


def open_store(url: str, *, timeout: float = 1.5) -> Store:
    """
    Open the store that *url* names, for blocking code.

    Args:
        url: As above. Trusted: it comes from your configuration.

        timeout: Seconds an operation may take before the delivery is told FAIL.

    Returns:
        The store. Those in SQL databases can also complete inside your
        transaction; look for ``bind``.

    Raises:
        ConfigurationError: If there is no such store, or its URL is malformed.

        ImportError: If an optional package is missing; it names the extra.

        StoreUnavailable: If a SQLite file cannot be opened. Servers are not
            asked before they are needed.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "shop.db")
        >>> with open_store(f"sqlite:///{path}") as store:
        ...     type(store).__name__, store.find("payment:1")
        ('SQLiteStore', None)
    """
    scheme = _scheme(url)
    if scheme == "sqlite":
        from .sqlite import SQLiteStore

        return SQLiteStore(_path(url), timeout=timeout)
    if scheme in _REDIS:
        from .redis import RedisStore

        return RedisStore(_redis_url(scheme, url), timeout=timeout)
    engine = _engine(scheme, url, asynchronous=False)
    from ._sqlalchemy_owned import OwningStore

    return OwningStore(engine, timeout=timeout)


def open_async_store(url: str, *, timeout: float = 1.5) -> AsyncStore:
    """
    Open the store that *url* names, for an event loop.

    Args:
        url: As above. Its driver, where it names one, is asynchronous
            (``asyncpg``, ``asyncmy``, ``aiomysql``, ``aiosqlite``, ``psycopg``).

        timeout: As for :func:`open_store`.

    Returns:
        The store.

    Raises:
        ConfigurationError: As for :func:`open_store`. ``sqlite://`` has no
            asynchronous store of its own: the receiver runs the blocking one in
            threads, or take ``sqlite+aiosqlite://``.

        ImportError: As for :func:`open_store`.
    """
    scheme = _scheme(url)
    if scheme == "sqlite":
        raise ConfigurationError(
            "SQLiteStore blocks, and the receiver runs it in threads: open it with open_store, "
            "or take sqlite+aiosqlite:///FILE"
        )
    if scheme in _REDIS:
        from .redis import AsyncRedisStore

        return AsyncRedisStore(_redis_url(scheme, url), timeout=timeout)
    engine = _engine(scheme, url, asynchronous=True)
    from ._sqlalchemy_owned import AsyncOwningStore

    return AsyncOwningStore(engine, timeout=timeout)


def _scheme(url: str) -> str:
    found = _URL.match(url)
    if not found:
        raise ConfigurationError(f"this is no store URL; there is {_KNOWN}")
    scheme = found[1]
    database = scheme.partition("+")[0]
    if scheme != "sqlite" and scheme not in _REDIS and database not in {*_DRIVERS, "sqlite"}:
        raise ConfigurationError(f"no store is called {shown(scheme)}; there is {_KNOWN}")
    return scheme


def _path(url: str) -> str:
    path = url.removeprefix("sqlite://")
    if not path.startswith("/") or "?" in path or path == "/":
        raise ConfigurationError(
            "a SQLite store is sqlite:///FILE, or sqlite:////FILE with an absolute path; there are no options"
        )
    return path[1:]


def _redis_url(scheme: str, url: str) -> str:
    return _REDIS[scheme] + url[len(scheme) :]


def _engine(scheme: str, url: str, *, asynchronous: bool) -> Any:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.ext.asyncio import create_async_engine
    except ModuleNotFoundError as error:
        raise ImportError('SQL databases need SQLAlchemy: pip install "wxpay-notify[sqlalchemy]"') from error
    if "+" not in scheme:
        url = f"{scheme}+{_DRIVERS[scheme][asynchronous]}{url[len(scheme) :]}"
    create = create_async_engine if asynchronous else create_engine
    try:
        # A server that was restarted leaves dead connections in the pool.
        engine = create(url, hide_parameters=True, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ImportError(f"{scheme} needs the package {error.name}: pip install {error.name}") from error
    except (SQLAlchemyError, ValueError):
        engine = None  # What SQLAlchemy says may repeat the whole URL.
    if engine is None or engine.dialect.is_async is not asynchronous:
        kind = "an asynchronous" if asynchronous else "a blocking"
        raise ConfigurationError(f"the {scheme} URL is malformed, or its driver is unknown or not {kind} one")
    return engine
