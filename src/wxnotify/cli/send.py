"""``wxnotify send``: post a signed notification as WeChat Pay would, and look at the answer."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .. import NotifyError, parse, testing
from .codes import meaning
from .keys import add_id_options, add_key_option, read_ids, read_keys
from .terminal import CannotRun, Colour, Terminal, printable

#: Seconds WeChat Pay waits for the answer.
TIMEOUT: Final = 5.0
_MAX_REPLY: Final = 65_536
_MOST_AT_ONCE: Final = 64


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``send``."""
    parser = commands.add_parser(
        "send",
        help="post a signed APIv2 notification to an endpoint, as WeChat Pay would",
        description="Post a signed payment notification of APIv2 to URL, wait 5 seconds as WeChat Pay does, "
        "and print the answer. Exit code 0 if every delivery was told SUCCESS, 1 if not (also for --forged "
        "and --wrong-amount, where a refusal is what you want to see).",
    )
    parser.add_argument(
        "url", metavar="URL", help="such as http://127.0.0.1:8888/notify; redirects are not followed"
    )
    parser.add_argument("--out-trade-no", metavar="NUMBER", default="A-1001", help="your order (%(default)s)")
    parser.add_argument("--total-fee", metavar="FEN", default="100", help="amount in fen (%(default)s)")
    parser.add_argument(
        "--transaction-id",
        metavar="ID",
        help="WeChat Pay's number; made from the order's if left out, so that sending twice is a duplicate",
    )
    parser.add_argument("--attach", default="", help="text that comes back as it was sent with the order")
    parser.add_argument("--sign-type", choices=("MD5", "HMAC-SHA256"), default="MD5", help="(%(default)s)")
    parser.add_argument("--with-sign-type", action="store_true", help="add the field sign_type, and sign it")
    parser.add_argument("--duplicates", metavar="N", type=_number, default=0, help="send it N times more")
    parser.add_argument("--concurrent", action="store_true", help="send them all at the same time")
    parser.add_argument("--forged", action="store_true", help="sign it with another key; yours is not needed")
    parser.add_argument("--wrong-amount", action="store_true", help="say that one fen less was paid")
    parser.add_argument("--failed", action="store_true", help="say that the payment failed: result_code FAIL")
    add_id_options(parser, "else that of wxnotify.testing")
    add_key_option(parser)
    parser.set_defaults(run=run)


class Answer(NamedTuple):
    """What an endpoint answered, or why there is no answer."""

    status: int
    body: bytes
    seconds: float
    problem: str

    @property
    def told(self) -> str:
        """SUCCESS or FAIL, as WeChat Pay would understand it; empty if it would not."""
        try:
            return_code = parse(self.body).get("return_code", "")
        except NotifyError:
            return ""
        return return_code if return_code in ("SUCCESS", "FAIL") else ""

    @property
    def success(self) -> bool:
        """Whether WeChat Pay would not send again."""
        return not self.problem and self.status == 200 and self.told == "SUCCESS"

    @property
    def message(self) -> str:
        """The answer's ``return_msg``: this library puts the code of a refusal there."""
        try:
            return parse(self.body).get("return_msg", "")
        except NotifyError:
            return ""


def run(arguments: argparse.Namespace) -> int:
    """Send and print."""
    key = secrets.token_hex(16) if arguments.forged else read_keys(arguments).texts[0]
    terminal = Terminal(hidden=(key,))
    fields = _fields(arguments)
    try:
        body = testing.notification(fields, key=key, sign_type=arguments.sign_type)
    except NotifyError as error:
        raise CannotRun(f"such a notification cannot be written: {error}") from None
    check_url(arguments.url)
    copies = 1 + arguments.duplicates
    terminal.line(_summary(arguments, fields, len(body), copies))
    threads = min(copies, _MOST_AT_ONCE) if arguments.concurrent else 1
    with ThreadPoolExecutor(threads) as pool:
        posts = [pool.submit(post, arguments.url, body) for _ in range(copies)]
        successes = [_print_answer(answer.result(), terminal) for answer in posts]
    return 0 if all(successes) else 1


def post(url: str, body: bytes) -> Answer:
    """Post *body* once, following no redirect; what goes wrong is in the answer."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    started = time.perf_counter()
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    status, reply, problem = 0, b"", ""
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Content-Type": "text/xml; charset=utf-8"})
        response = connection.getresponse()
        status, reply = response.status, response.read(_MAX_REPLY)
    except TimeoutError:
        problem = f"no answer within {TIMEOUT:.0f} s"
    except (OSError, http.client.HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    seconds = time.perf_counter() - started
    if not problem and seconds > TIMEOUT:
        problem = f"too late: WeChat Pay waits {TIMEOUT:.0f} s"
    return Answer(status, reply, seconds, problem)


def check_url(url: str) -> None:
    """Raise ``CannotRun`` for what cannot be posted to."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise CannotRun(f"{printable(url)} is not an http or https address")


def transaction_id_of(out_trade_no: str) -> str:
    """Make a transaction id that is always the same for one order; ``wxnotify.testing`` has its own."""
    known = testing.payment_fields()
    if out_trade_no == known["out_trade_no"]:
        return known["transaction_id"]
    number = int(hashlib.sha256(out_trade_no.encode("utf-8", "replace")).hexdigest(), 16)
    return f"4200{number % 10**24:024}"


def _fields(arguments: argparse.Namespace) -> dict[str, str]:
    mch_id, appid = read_ids(arguments)
    total_fee = arguments.total_fee
    if arguments.wrong_amount:
        if not (total_fee.isascii() and total_fee.isdigit() and int(total_fee) > 1):
            raise CannotRun("--wrong-amount takes one fen off --total-fee, which must be more than 1")
        total_fee = str(int(total_fee) - 1)
    fields = testing.payment_fields(
        appid=appid or testing.APPID,
        attach=arguments.attach,
        cash_fee=total_fee,
        mch_id=mch_id or testing.MCH_ID,
        nonce_str=secrets.token_hex(16),
        out_trade_no=arguments.out_trade_no,
        total_fee=total_fee,
        transaction_id=arguments.transaction_id or transaction_id_of(arguments.out_trade_no),
    )
    if arguments.with_sign_type:
        fields["sign_type"] = arguments.sign_type
    if arguments.failed:
        fields |= {"result_code": "FAIL", "err_code": "NOTENOUGH", "err_code_des": "not enough money"}
    return fields


def _summary(arguments: argparse.Namespace, fields: dict[str, str], length: int, copies: int) -> str:
    what = "failed payment" if arguments.failed else "payment"
    how = f"{arguments.sign_type} with a key of nobody's" if arguments.forged else arguments.sign_type
    times = "" if copies == 1 else f", {copies} times" + (" at once" if arguments.concurrent else "")
    return printable(
        f"{what} of {fields['out_trade_no']}, {fields['total_fee']} fen, transaction "
        f"{fields['transaction_id']}, {how}, {length} bytes{times}"
    )


def _print_answer(answer: Answer, terminal: Terminal) -> bool:
    colour: Colour = "green" if answer.success else "red"
    spent = f"{answer.seconds * 1000:.1f} ms"
    if answer.problem:
        terminal.line(f"{terminal.paint(answer.problem, 'red')}  {spent}")
        return False
    if answer.told:
        said = f"{answer.told}  {printable(answer.message)}"
        explained = "" if answer.success else meaning(answer.message)
    else:
        said = ascii(answer.body[:60].decode("utf-8", "replace"))
        explained = "not an answer WeChat Pay understands: it will send again"
    if answer.told == "SUCCESS" and not answer.success:
        explained = "SUCCESS goes with status 200 alone: it will send again"
    terminal.line(
        "  ".join(filter(None, [terminal.paint(f"{answer.status} {said}", colour), spent, explained]))
    )
    return answer.success


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 9999")
    return int(text)
