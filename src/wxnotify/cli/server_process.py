"""``wxnotify serve`` in a process of its own, and what it prints."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

from .serve import read_event_line
from .terminal import CannotRun

_SECONDS_TO_START: Final = 30.0
_SECONDS_TO_REPORT: Final = 10.0
_SECONDS_TO_STOP: Final = 10.0


class ServerProcess:
    """
    A running server; stopped when the ``with`` block ends.

    Args:
        arguments: Those of ``wxnotify serve``.

        environment: The process's; the key is in it.

    Raises:
        CannotRun: If it ends before it listens. The message has what it said.
    """

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments of our own
            [sys.executable, "-m", "wxnotify.cli", "serve", "--until-eof", *arguments],
            env={**environment, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        # Always read, or a full pipe would stop the server.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            #: Where notifications go.
            self.url = self._wait_for_url()
        except BaseException:
            self.stop()
            raise

    def events(self, count: int) -> list[str]:
        """Wait for the codes of the next *count* deliveries."""
        codes: list[str] = []
        while len(codes) < count:
            line = self._line(_SECONDS_TO_REPORT)
            if line is None:
                break
            codes += filter(None, [read_event_line(line)])
        return codes

    def lines(self) -> Iterator[str]:
        """Give what it prints from now on, until it ends."""
        while True:
            with suppress(queue.Empty):
                # With a timeout, because Windows lets nobody interrupt an endless wait.
                line = self._lines.get(timeout=0.5)
                if line is None:
                    return
                yield line

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait(self) -> int:
        """Wait for its end; give its exit code."""
        return self._process.wait(_SECONDS_TO_STOP)

    def stop(self) -> None:
        """
        End the process, kindly first.

        A closed standard input tells it to end, on every system, and even if
        this process is killed and can tell it nothing.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _line(self, seconds: float) -> str | None:
        """Wait for the next line; None if there is none in time, or it has ended."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _wait_for_url(self) -> str:
        said: list[str] = []
        while True:
            line = self._line(_SECONDS_TO_START)
            if line is None:
                raise CannotRun("the server did not start:\n" + "\n".join(said))
            said.append(line)
            found = re.fullmatch(r"listening on (http://\S+)", line)
            if found:
                return found[1]
