"""
The documents are tests: every Python block in them is executed, from top to bottom.

Each document has a temporary working directory and a namespace of its own. A
block whose first line is ``# name.py`` is saved under that name and imported, so
that a later block may import from it as a reader would. The README's ``shop.py``
is there from the start. The order query is answered here, and ``posted`` is for
invisible blocks, which are HTML comments.
"""

# ruff: noqa: S101 - asserts are what tests are made of

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import os
import re
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from doctest import ELLIPSIS
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from wxnotify import ORDER_QUERY_URL, parse, verify
from wxnotify.testing import KEY, notification, query_answer

# Django's modules need its settings, which their own tests see to; they hold no doctests.
collect_ignore_glob = ["src/wxnotify/stores/django/*", "tests/django_shop/*"]

# Everything else runs without the extra `crypto`, and CI runs it so.
_CRYPTO = find_spec("cryptography") is not None
if not _CRYPTO:
    collect_ignore_glob += [
        "tests/crypto/*",
        "tests/typing/*",
        "src/wxnotify/apiv3/*",
        "src/wxnotify/testing/apiv3*.py",
        "docs/apiv3.md",
    ]

# Published vectors of others are not copied here (tests/vectors/README.md).
_PUBLISHED = os.environ.get("WXNOTIFY_SHARED_VECTORS") or Path(__file__).parents[1] / "shared" / "vectors"
if not Path(_PUBLISHED).is_dir():
    collect_ignore_glob.append("tests/crypto/test_vectors_published.py")

_README = Path(__file__).with_name("README.md")
_NAMED = re.compile(r"# (\w+)\.py\n")


class _Blocks(PythonCodeBlockParser):
    """Python blocks; those that name a file are written to it."""

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in super().__call__(document):
            if not _CRYPTO and ".apiv3 import" in str(region.parsed):
                continue  # elsewhere a block on APIv3 stands by itself
            if isinstance(region.parsed, str) and _NAMED.match(region.parsed):
                region.evaluator = _save_and_import
            yield region


def _save_and_import(example: Example) -> None:
    named = _NAMED.match(example.parsed)
    assert named
    Path(f"{named[1]}.py").write_text(example.parsed, encoding="utf-8")
    importlib.invalidate_caches()
    importlib.import_module(named[1])


def _answer_query(url: str, data: bytes, timeout: float) -> io.BytesIO:
    """Be WeChat Pay's order query: the order is paid, if the query is signed."""
    assert url == ORDER_QUERY_URL
    query = verify(parse(data), KEY)
    return io.BytesIO(query_answer(out_trade_no=query["out_trade_no"]))


def _posted(app: Any, path: str) -> int:
    """Post a signed notification to a WSGI or ASGI application; the status of its reply."""
    body = notification()
    if inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return asyncio.run(_posted_async(app, path, body))
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "text/xml",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    reply = b"".join(app(environ, lambda status, headers, *_: statuses.append(status)))
    assert b"[SUCCESS]" in reply, reply
    return int(statuses[0].split()[0])


async def _posted_async(app: Any, path: str, body: bytes) -> int:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"text/xml"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    assert b"[SUCCESS]" in sent[1]["body"], sent
    return int(sent[0]["status"])


def _set_up(namespace: dict[str, Any]) -> None:
    place = tempfile.mkdtemp(prefix="wxnotify-docs-")
    query = mock.patch.object(urllib.request, "urlopen", _answer_query)
    query.start()
    namespace["_left"] = (os.getcwd(), place, query)
    namespace["posted"] = _posted
    os.chdir(place)
    shop = re.search(r"```python\n(# shop\.py\n.*?)```", _README.read_text(encoding="utf-8"), re.DOTALL)
    assert shop
    Path("shop.py").write_text(shop[1], encoding="utf-8")
    sys.path.insert(0, place)


def _tear_down(namespace: dict[str, Any]) -> None:
    cwd, place, query = namespace["_left"]
    os.chdir(cwd)
    sys.path.remove(place)
    query.stop()
    here = [name for name, module in sys.modules.items() if _is_in(module, place)]
    for name in here:
        del sys.modules[name]
    namespace.clear()
    shutil.rmtree(place, ignore_errors=True)


def _is_in(module: Any, place: str) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == Path(place)


pytest_collect_file = Sybil(
    parsers=[_Blocks(doctest_optionflags=ELLIPSIS)],
    patterns=["*.md"],
    setup=_set_up,
    teardown=_tear_down,
).pytest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """Fail what was skipped, where everything must run."""
    report = yield
    return _no_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    """Fail a module that was skipped, where everything must run."""
    report = yield
    return _no_skip(report)


def _no_skip(report: Any) -> Any:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where everything must run: {report.longrepr}"
    return report
