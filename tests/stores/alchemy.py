"""Databases and engines for the tests of the SQLAlchemy stores."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import create_engine

from wxnotify.errors import ConfigurationError
from wxnotify.stores.sqlalchemy import SQLAlchemyStore

from .. import servers
from ..proxy import Proxy

KEEP = 30 * 86_400.0


class Driver(NamedTuple):
    """What a URL begins with, and where its server is."""

    scheme: str
    package: str
    server: servers.Server | None
    asynchronous: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}{'-async' if self.asynchronous else ''}"

    def url(self, address: str) -> str:
        """Give the URL of a database by this driver."""
        pytest.importorskip(self.package)
        return self.scheme + address[address.index("://") :]


POSTGRESQL, MARIADB = servers.POSTGRESQL, servers.MARIADB
PSYCOPG = Driver("postgresql+psycopg", "psycopg", POSTGRESQL)
PYMYSQL = Driver("mysql+pymysql", "pymysql", MARIADB)
PYSQLITE = Driver("sqlite+pysqlite", "sqlite3", None)
SYNC = [
    PSYCOPG,
    Driver("postgresql+psycopg2", "psycopg2", POSTGRESQL),
    PYMYSQL,
    Driver("mariadb+pymysql", "pymysql", MARIADB),
    PYSQLITE,
]
ON_SERVERS = [driver for driver in SYNC if driver.server]
ASYNC = [
    Driver("postgresql+psycopg", "psycopg", POSTGRESQL, True),
    Driver("postgresql+asyncpg", "asyncpg", POSTGRESQL, True),
    Driver("mysql+asyncmy", "asyncmy", MARIADB, True),
    Driver("mariadb+aiomysql", "aiomysql", MARIADB, True),
    Driver("sqlite+aiosqlite", "aiosqlite", None, True),
]

_counter = itertools.count(1)


def new_key() -> str:
    """Give a key that no other test has."""
    return f"payment:{os.getpid()}:{next(_counter)}"


def asked(**changes: Any) -> dict[str, Any]:
    """Give what a claim is asked with, by an owner of its own."""
    return {"fingerprint": bytes(32), "owner": os.urandom(16), "lease": 30.0, **changes}


class Databases:
    """One database on each server, made when it is first wanted."""

    def __init__(self, directory: Any) -> None:
        self._at_end = ExitStack()
        self._directory = directory
        self._made: dict[str, str] = {}

    def address(self, driver: Driver) -> str:
        """Give the database's URL, with any scheme."""
        name = driver.server.name if driver.server else "SQLite"
        if name not in self._made:
            self._made[name] = self.another(driver)
        return self._made[name]

    def another(self, driver: Driver) -> str:
        """Make a database more; give its URL."""
        if driver.server is None:
            return f"sqlite:///{self._directory}/{next(_counter)}.db"
        make: dict[servers.Server, Callable[[], Any]] = {
            POSTGRESQL: servers.postgresql_database,
            MARIADB: servers.mariadb_database,
        }
        address: str = self._at_end.enter_context(make[driver.server]())
        return address

    def close(self) -> None:
        self._at_end.close()


@contextmanager
def proxied(driver: Driver, address: str) -> Iterator[tuple[str, Proxy]]:
    """Put a proxy before the server; give the database's URL through it."""
    assert driver.server is not None
    host, port = driver.server.port
    with Proxy((host, port)) as proxy:
        yield address.replace(f"{host}:{port}", f"{proxy.host}:{proxy.port}", 1), proxy


# --- fixtures; a module of tests takes them by name


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    databases = Databases(tmp_path_factory.mktemp("sqlite"))
    yield databases
    databases.close()


@pytest.fixture
def open_engine(databases):
    """Make engines, and dispose of them."""
    engines = []

    def open_engine(driver, address=None, query="", **options):
        engine = create_engine(driver.url(address or databases.address(driver)) + query, **options)
        engines.append(engine)
        return engine

    yield open_engine
    for engine in engines:
        engine.dispose()


@pytest.fixture
def open_store(open_engine):
    """Make stores with their tables, and close them."""
    stores = []

    def open_store(driver, address=None, *, query="", options=None, **arguments):
        store = SQLAlchemyStore(open_engine(driver, address, query, **options or {}), **arguments)
        stores.append(store)
        store.create_all()
        return store

    yield open_store
    for store in stores:
        store.close()


@contextmanager
def refused(match, error=ConfigurationError):
    with pytest.raises(error, match=match) as refusal:
        yield
    assert refusal.value.code == error.code
