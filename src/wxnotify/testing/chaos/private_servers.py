"""
Servers of the run's own, made to be stopped hard: PostgreSQL, MariaDB, Redis.

Each runs on a free port, in a new directory, with durable settings, so that
what it acknowledged is on disk. Stopped means SIGKILL, or for PostgreSQL an
immediate shutdown, which is as rude but takes its own children along; started
again, it recovers from its log as after a crash.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from ...errors import ConfigurationError
from .orphans import end_with_parent
from .servers import end_of

_SECONDS_TO_START: Final = 60.0
_SECONDS_TO_STOP: Final = 20.0


class PrivateServer:
    """
    A server process of the run's own.

    Args:
        directory: For its data; made, and given to the account it runs as.

        log: A file for what it says.

    Raises:
        ConfigurationError: If its programs are not installed, or it does not start.
    """

    #: What it is called, its program, and what to run it as if this is root, which it may refuse.
    name: str
    program: str
    account: str

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._up = False
        self._ids = _ids(self.account) if os.geteuid() == 0 else None
        directory.mkdir()
        if self._ids is not None:
            os.chown(directory, *self._ids)
        try:
            self.prepare()
            self.start()
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> str:
        """What it says it is."""
        return _output(find(self.program), "--version")

    def prepare(self) -> None:
        """Make what has to be in the directory before the first start."""

    def arguments(self) -> list[str]:
        """Give the command line after the program's name."""
        raise NotImplementedError

    def url(self, scheme: str) -> str:
        """Give its address, for the driver in *scheme*."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, on the same data."""
        self._up = True
        self._process = self._spawn(find(self.program), *self.arguments())

    def stop(self) -> None:
        """Kill it."""
        self._up = False
        if self._process is not None:
            self._process.send_signal(self.signal())

    def signal(self) -> signal.Signals:
        """Give the signal that kills it."""
        return signal.SIGKILL

    def settled(self) -> bool:
        """Tell whether it takes connections, or is gone, whichever was asked for."""
        return not self._ended() and _listens(self.port) if self._up else self._ended()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        if self._process is not None:
            self._process.wait(_SECONDS_TO_STOP)

    def run(self, *command: str) -> None:
        """Run a program to its end, as the server's account."""
        if self._spawn(*command).wait():
            raise ConfigurationError(f"{command[0]} failed; it said:\n{end_of(self._log)}")

    def _wait(self) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self.settled():
            if self._ended() or time.monotonic() > deadline:
                raise ConfigurationError(f"{self.name} did not start; it said:\n{end_of(self._log)}")
            time.sleep(0.05)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        user, group = self._ids or (None, None)
        with open(self._log, "ab") as log:
            return subprocess.Popen(  # noqa: S603 - found on this machine, and arguments of our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                start_new_session=True,  # out of reach of Ctrl-C
                preexec_fn=end_with_parent,
            )


class PostgreSQL(PrivateServer):
    """PostgreSQL; it takes connections while it still recovers, and refuses them politely."""

    name, program, account = "PostgreSQL", "postgres", "postgres"

    def prepare(self) -> None:
        """Run initdb."""
        self.run(
            find("initdb"), "--pgdata", str(self.directory / "data"), "--username", "wxnotify",
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C",
        )  # fmt: skip

    def arguments(self) -> list[str]:
        """Give the command line after the program's name."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "400",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
        }
        return [
            "-D", str(self.directory / "data"), "-p", str(self.port),
            *[word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
        ]  # fmt: skip

    def signal(self) -> signal.Signals:
        """Give the signal for an immediate shutdown: no checkpoint, and every backend killed."""
        return signal.SIGQUIT

    def url(self, scheme: str) -> str:
        """Give its address."""
        return f"{scheme}://wxnotify@127.0.0.1:{self.port}/postgres"


class MariaDB(PrivateServer):
    """MariaDB."""

    name, program, account = "MariaDB", "mariadbd", "mysql"

    def prepare(self) -> None:
        """Run mariadb-install-db."""
        self.run(
            find("mariadb-install-db"), "--no-defaults", f"--datadir={self.directory / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip
        (self.directory / "init.sql").write_text("CREATE DATABASE IF NOT EXISTS wxnotify;\n")

    def arguments(self) -> list[str]:
        """Give the command line after the program's name."""
        return [
            "--no-defaults", f"--datadir={self.directory / 'data'}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}", f"--init-file={self.directory / 'init.sql'}",
            "--max-connections=400", "--innodb-flush-log-at-trx-commit=1",
            "--log-bin=binlog", "--server-id=1", "--sync-binlog=1",
        ]  # fmt: skip

    def url(self, scheme: str) -> str:
        """Give its address."""
        # PyMySQL would load every authority of the system for each connection, 30 ms each.
        plain = "?ssl_disabled=true" if scheme in ("mysql", "mariadb") or "pymysql" in scheme else ""
        return f"{scheme}://root@127.0.0.1:{self.port}/wxnotify{plain}"


class Redis(PrivateServer):
    """Redis, or Valkey where only that is installed."""

    name, program, account = "Redis", "redis-server", "redis"

    def arguments(self) -> list[str]:
        """Give the command line after the program's name."""
        return [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def url(self, scheme: str) -> str:
        """Give its address."""
        return f"{scheme}://127.0.0.1:{self.port}/0"


PRIVATE: Final[dict[str, type[PrivateServer]]] = {
    "postgresql": PostgreSQL,
    "mysql": MariaDB,
    "mariadb": MariaDB,
    "redis": Redis,
    "valkey": Redis,
}
_PLACES: Final = (
    "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/sbin", "/usr/local/sbin", "/usr/local/bin",
    "/opt/homebrew/opt/*/bin",
)  # fmt: skip
_ALSO: Final = {"redis-server": "valkey-server"}


def find(program: str) -> str:
    """
    Give the path of a server's program.

    Raises:
        ConfigurationError: If it is not installed.
    """
    places = [os.environ.get("PATH", ""), *sorted(filter(os.path.isdir, _expand()), reverse=True)]
    for name in filter(None, (program, _ALSO.get(program))):
        found = shutil.which(name, path=os.pathsep.join(places))
        if found:
            return found
    raise ConfigurationError(f"{program} is not installed: --private starts a server of its own and needs it")


def _expand() -> list[str]:
    return [place for pattern in _PLACES for place in glob.glob(pattern)]


def _ids(account: str) -> tuple[int, int]:
    for name in (account, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ConfigurationError(f"there is no account {account} or nobody to run the server as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
