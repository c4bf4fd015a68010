"""
Measure the core against code anyone would write, as ratios within one run.

    python benchmarks/core.py            print the ratios and their limits
    python benchmarks/core.py --check    exit 1 if one is over its limit

Contenders take turns, in a new order every round, and each ratio is the median
of the rounds' own ratios: a machine whose speed drifts moves both sides of it.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable

import defusedxml.ElementTree
from rounds import Figure, ratio, show, timed

from wxnotify import Key, NotifyError, Payment, parse, verify
from wxnotify.testing import KEY, notification, payment_fields

ROUNDS = 40
LIMIT_BYTES = 65_536


def spread(body: bytes) -> bytes:
    """Write a body as WeChat Pay does: CDATA values, a line a field."""
    fields = parse(body)
    lines = [f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items()]
    return ("<xml>" + "\n".join(lines) + "\n</xml>").encode()


# 17 fields with ``sign``.
MD5_BODY = spread(notification(payment_fields(attach="store=12;clerk=7")))
HMAC_BODY = spread(notification(payment_fields(attach="store=12;clerk=7"), sign_type="HMAC-SHA256"))
MERCHANT_KEY = Key(KEY)


def handwritten() -> None:
    """What people write, with the right parser: tree to dict, MD5 over the sorted fields."""
    root = defusedxml.ElementTree.fromstring(MD5_BODY, forbid_dtd=True)
    fields = {element.tag: element.text or "" for element in root}
    pairs = [f"{name}={fields[name]}" for name in sorted(fields) if name != "sign" and fields[name]]
    text = "&".join(pairs) + "&key=" + KEY
    expected = hashlib.md5(text.encode()).hexdigest().upper()
    if not hmac.compare_digest(expected.encode(), fields["sign"].encode()):
        raise AssertionError


def library() -> None:
    """Do the same with the library."""
    verify(parse(MD5_BODY), MERCHANT_KEY)


def library_text_key() -> None:
    """Do the same, with the key given as text each time."""
    verify(parse(MD5_BODY), KEY)


def library_hmac() -> None:
    """Do the same with HMAC-SHA256."""
    verify(parse(HMAC_BODY), MERCHANT_KEY)


def library_payment() -> None:
    """Go on to the typed payment."""
    Payment.from_verified(verify(parse(MD5_BODY), MERCHANT_KEY))


def refusing(body: bytes) -> Callable[[], None]:
    """Make a call that must be refused, whatever step refuses it."""

    def call() -> None:
        try:
            verify(parse(body), MERCHANT_KEY)
        except NotifyError:
            return
        raise AssertionError("accepted")

    return call


def filled(start: str, piece: str, end: str) -> bytes:
    """Repeat *piece* until the body is as large as is read at all."""
    room = LIMIT_BYTES - len((start + end).encode())
    return (start + piece * (room // len(piece.encode())) + end).encode()


def hostile() -> dict[str, bytes]:
    """Build the bodies of full size that are slow to read, each in its own way."""
    many = "".join(f"<f{n:04d}>v</f{n:04d}>" for n in range(4_000))
    empty = "".join(f"<f{n:04d}/>" for n in range(4_000))
    attributes = " ".join(f'a{n:04d}=""' for n in range(6_000))
    return {
        "fields": f"<xml>{many}</xml>".encode()[:LIMIT_BYTES],
        "empty fields": f"<xml>{empty}</xml>".encode()[:LIMIT_BYTES],
        "attributes": f"<xml {attributes}".encode()[: LIMIT_BYTES - 8] + b"/>",
        "namespaces": filled("<xml ", 'xmlns:a="b" ', "/>"),
        "references": filled("<xml><a>", "&amp;", "</a></xml>"),
        "character references": filled("<xml><a>", "&#65;", "</a></xml>"),
        "line feeds": filled("<xml><a>", "\n", "</a></xml>"),
        "carriage returns": filled("<xml><a>", "\r", "</a></xml>"),
        "blank lines between": filled("<xml>", "\n", "</xml>"),
        "text": filled("<xml><a>", "x", "</a></xml>"),
        "Chinese text": filled("<xml><a>", "\u652f", "</a></xml>"),
        "empty CDATA": filled("<xml><a>", "<![CDATA[]]>", "</a></xml>"),
        "CDATA never closed": filled("<xml><a>", "<![CDATA[", "</a></xml>"),
        "end tags in CDATA": filled("<xml><a>", "<![CDATA[</]]>", "</a></xml>"),
        "long name": filled("<xml><", "x", "/></xml>"),
        "long root": filled("<", "x", "/>"),
        "depth": filled("<xml>", "<a>", ""),
        "comments": filled("<xml>", "<!---->", "</xml>"),
        "instructions": filled("<xml>", "<?a?>", "</xml>"),
        "doctype": filled("<!DOCTYPE xml [", "<!ATTLIST a b CDATA #IMPLIED>", "]><xml/>"),
        "spaces": b" " * LIMIT_BYTES,
        "NULs": b"\0" * LIMIT_BYTES,
        "no markup": b"x" * LIMIT_BYTES,
        "open brackets": b"<" * LIMIT_BYTES,
    }


def import_ratio() -> float:
    """Compare CPU time of a process that imports wxnotify with one that imports nothing."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def process(code: str) -> Callable[[], None]:
            return lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment) and None

        calls = {"nothing": process("pass"), "wxnotify": process("import wxnotify")}
        for call in calls.values():
            call()  # compiles what it imports
        seconds = timed(calls, 25, dict.fromkeys(calls, 1))
    return ratio(seconds, "wxnotify", "nothing")


def peak_kib(call: Callable[[], None]) -> float:
    """Give the greatest memory traced during one call, in KiB."""
    call()
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return (tracemalloc.get_traced_memory()[1] - before) / 1024
    finally:
        tracemalloc.stop()


def cyclic_objects(call: Callable[[], None]) -> int:
    """Count the objects one call leaves to the cycle collector."""
    call()
    gc.collect()
    gc.disable()
    try:
        call()
        return gc.collect()
    finally:
        gc.enable()


def main() -> int:
    """Measure everything, print it, and compare."""
    two_thousand = "<xml>" + "".join(f"<f{n}>v{n}</f{n}>" for n in range(2_000)) + "</xml>"
    calls: dict[str, Callable[[], None]] = {
        "handwritten": handwritten,
        "library": library,
        "library_text_key": library_text_key,
        "library_hmac": library_hmac,
        "library_payment": library_payment,
        "2000 fields": refusing(two_thousand.encode()),
        "2000 fields in CDATA": refusing(spread_raw(2_000)),
        "2000 empty fields": refusing(
            ("<xml>" + "".join(f"<f{n}/>\n" for n in range(2_000)) + "</xml>").encode()
        ),
    }
    many = ("2000 fields", "2000 fields in CDATA", "2000 empty fields")
    seconds = timed(calls, ROUNDS, dict.fromkeys(many, 10))
    bodies = hostile()
    worst = timed(
        {"library": library, **{name: refusing(body) for name, body in bodies.items()}},
        9,
        dict.fromkeys(bodies, 2),
    )
    slowest = max(bodies, key=lambda name: ratio(worst, name, "library"))
    # Everything this has to do for a notification, one figure and its limit a row.
    figures = [
        Figure(
            "parse + verify, 17 fields / handwritten defusedxml + hashlib",
            ratio(seconds, "library", "handwritten"),
            0.60,
        ),
        Figure("the same, key given as text each time", ratio(seconds, "library_text_key", "handwritten")),
        Figure("the same, to the typed Payment", ratio(seconds, "library_payment", "handwritten")),
        Figure("HMAC-SHA256 / MD5", ratio(seconds, "library_hmac", "library"), 1.10),
        Figure("2,000 fields refused / a genuine one", ratio(seconds, "2000 fields", "library"), 10),
        Figure(
            "2,000 fields in CDATA refused / a genuine one",
            ratio(seconds, "2000 fields in CDATA", "library"),
            10,
        ),
        Figure(
            "2,000 empty fields refused / a genuine one", ratio(seconds, "2000 empty fields", "library"), 10
        ),
        Figure(f"slowest 64 KiB body ({slowest}) / a genuine one", ratio(worst, slowest, "library"), 200),
        Figure("process that imports wxnotify / one that imports nothing", import_ratio(), 3.0),
        Figure("peak KiB a notification, parse + verify", peak_kib(library), 32),
        Figure("peak KiB a notification, to the typed Payment", peak_kib(library_payment), 32),
        Figure("objects left to the cycle collector", cyclic_objects(library_payment), 0),
        Figure("objects left to it by a refusal", cyclic_objects(refusing(b"<xml><a b='c'/></xml>")), 0),
    ]
    over = show(figures)
    return 1 if over and "--check" in sys.argv[1:] else 0


def spread_raw(count: int) -> bytes:
    """Build a body of *count* CDATA fields."""
    return ("<xml>" + "".join(f"<f{n}><![CDATA[{n}]]></f{n}>" for n in range(count)) + "</xml>").encode()


if __name__ == "__main__":
    sys.exit(main())
