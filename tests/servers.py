"""
The servers that the tests talk to, and a place of their own on each.

Each address is a setting, an environment variable; without one it is this machine's usual port. Where a
server does not answer, the tests that need it are skipped with a line that says how to get it; under CI that
is a failure (``conftest.py``).
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest


class Server(NamedTuple):
    """One kind of server."""

    name: str
    setting: str
    usual: str
    how: str

    @property
    def address(self) -> str:
        """Its URL, as configured."""
        return os.environ.get(self.setting, self.usual)

    @property
    def port(self) -> tuple[str, int]:
        """Its host and port."""
        parts = urlsplit(self.address)
        assert parts.hostname, f"{self.setting} needs a host"
        assert parts.port, f"{self.setting} needs a port"
        return parts.hostname, parts.port

    def need(self) -> str:
        """Give its URL, or skip the test."""
        if not _answers(self.port):
            host, port = self.port
            pytest.skip(
                f"no {self.name} at {host}:{port}: start one ({self.how}), or name yours in {self.setting}"
            )
        return self.address


POSTGRESQL: Final = Server(
    "PostgreSQL",
    "WXNOTIFY_TEST_POSTGRESQL",
    "postgresql://postgres@127.0.0.1:5432/postgres",
    "docker run -e POSTGRES_HOST_AUTH_METHOD=trust -p 5432:5432 postgres",
)
MARIADB: Final = Server(
    "MariaDB or MySQL",
    "WXNOTIFY_TEST_MARIADB",
    "mysql://root@127.0.0.1:3306/",
    "docker run -e MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 -p 3306:3306 mariadb",
)
REDIS: Final = Server(
    "Redis", "WXNOTIFY_TEST_REDIS", "redis://127.0.0.1:6379/0", "docker run -p 6379:6379 redis"
)
RABBITMQ: Final = Server(
    "RabbitMQ",
    "WXNOTIFY_TEST_RABBITMQ",
    "amqp://guest:guest@127.0.0.1:5672//",
    "docker run -p 5672:5672 rabbitmq",
)


@cache
def _answers(port: tuple[str, int]) -> bool:
    try:
        socket.create_connection(port, timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def postgresql_database() -> Iterator[str]:
    """Make an empty PostgreSQL database; give its URL, ``postgresql://``."""
    import psycopg

    address, name = POSTGRESQL.need(), f"wxnotify_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(address, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield urlunsplit(urlsplit(address)._replace(path=f"/{name}"))
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def mariadb_database() -> Iterator[str]:
    """Make an empty MariaDB database; give its URL, ``mysql://``."""
    import pymysql

    address, name = MARIADB.need(), f"wxnotify_{uuid.uuid4().hex[:12]}"
    parts = urlsplit(address)
    server = pymysql.connect(
        host=parts.hostname or "",
        port=parts.port or 3306,
        user=parts.username or "root",
        password=parts.password or "",
        autocommit=True,
    )
    try:
        with server.cursor() as cursor:
            # The collation most servers have, in which 'Abc' is 'abc' and 'x' is 'x '.
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
            try:
                yield urlunsplit(parts._replace(path=f"/{name}"))
            finally:
                cursor.execute(f"DROP DATABASE {name}")
    finally:
        server.close()


def redis_prefix() -> str:
    """Give a prefix that no other test uses."""
    return f"wxnotify-test-{uuid.uuid4().hex[:12]}:"
