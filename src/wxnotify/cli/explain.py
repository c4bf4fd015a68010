"""``wxnotify explain``: what is in a saved notification, what was signed, and why it is refused."""

from __future__ import annotations

import argparse
from typing import Final, NamedTuple

from .. import NotifyError, Payment, Verified, check_merchant, verify
from .attempts import Case, signed_text
from .causes import causes_of, notes_on
from .hypotheses import masked
from .keys import Keys, add_id_options, add_key_option, read_apiv3_keys, read_ids, read_keys
from .reading import Finding, Reading, read
from .terminal import Terminal, pad, printable
from .verify import add_file_argument, matched, read_as, read_body

_WIDEST_NAME: Final = 24
_WIDEST_VALUE: Final = 56
_HMAC_DIGITS: Final = 64


class _Ids(NamedTuple):
    mch_id: str
    appid: str


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``explain``."""
    parser = commands.add_parser(
        "explain",
        help="say field by field what was signed, and why a notification is refused",
        description="Show the fields of a notification that was saved as it came, the string that was "
        "signed (with <key> in the place of the key), the verdict, and the likely cause of a refusal: "
        "each guess is tried, and named only if it gives the very sign. Exit code 0 if the library takes "
        "it for an authentic payment notification, 1 if not.",
    )
    add_file_argument(parser)
    add_key_option(parser)
    parser.add_argument(
        "--apiv3-key-file",
        metavar="FILE",
        help="also try the APIv3 key in FILE, or in the environment variable WXNOTIFY_APIV3_KEY",
    )
    parser.add_argument(
        "--show-openid", action="store_true", help="show openid and sub_openid, which are masked otherwise"
    )
    add_id_options(parser, "compared if given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain."""
    keys = read_keys(arguments)
    apiv3_keys = read_apiv3_keys(arguments)
    ids = _Ids(*read_ids(arguments))
    terminal = Terminal(hidden=keys.texts + apiv3_keys.texts)
    body = read_body(arguments.file)
    reading = read(body)
    form = f"read as {reading.form}" if reading.form else "unreadable"
    terminal.line(terminal.paint(f"{arguments.file}: {len(body)} bytes, {form}", "bold"))
    if reading.fields:
        _print_fields(reading.fields, arguments.show_openid, terminal)
        _print_signed(reading.fields, arguments.show_openid, terminal)

    verified, refusal = _verify(reading, keys)
    refusal = reading.refusal or refusal or _no_payment(verified, ids)
    terminal.heading("verdict")
    if refusal is not None:
        terminal.line(f"  {terminal.paint(f'refused  {refusal.code}', 'red')}  {printable(str(refusal))}")
    if verified is not None:
        holds = "the sign holds" if reading.refusal is None else "once that is undone, the sign holds"
        terminal.line(f"  {terminal.paint(holds, 'green')}  {matched(verified, keys)}")
        terminal.line(f"  {read_as(verified)}")

    if refusal is not None:
        sign = reading.fields.get("sign", reading.fields.get("paySign", ""))
        case = Case(reading.fields, sign, keys.texts, apiv3_keys.texts, *ids)
        _print_findings("likely cause", causes_of(reading, case, verified, refusal), terminal)
    _print_findings("also", notes_on(verified, keys), terminal)
    return 0 if refusal is None else 1


def _verify(reading: Reading, keys: Keys) -> tuple[Verified | None, NotifyError | None]:
    try:
        return verify(reading.fields, keys.texts), None
    except NotifyError as error:
        return None, error


def _no_payment(verified: Verified | None, ids: _Ids) -> NotifyError | None:
    if verified is None:
        return None
    try:
        payment = Payment.from_verified(verified)
        check_merchant(
            payment,
            mch_id=ids.mch_id or payment.mch_id,
            appid=ids.appid or payment.appid,
            sub_mch_id=payment.sub_mch_id,
        )
    except NotifyError as error:
        return error
    return None


# --- printing ------------------------------------------------------------------


def _print_fields(fields: dict[str, str], show_openid: bool, terminal: Terminal) -> None:
    terminal.heading("fields")
    widest = min(max(map(len, fields)), _WIDEST_NAME)
    terminal.line(terminal.paint(f"  {pad('name', widest)}  {pad('value', _WIDEST_VALUE)}  signed", "dim"))
    for name, value in fields.items():
        why = "yes"
        if name == "sign":
            why = terminal.paint("no: the sign itself", "yellow")
        elif not value:
            why = terminal.paint("no: empty", "yellow")
        shown = _shown(name, value, show_openid)
        if shown != shown.strip():
            shown = f"'{shown}'"  # or nobody would see the white space
        shown = pad(shown, _WIDEST_VALUE)
        terminal.line(f"  {pad(printable(name), widest)}  {shown}  {why}")


def _print_signed(fields: dict[str, str], show_openid: bool, terminal: Terminal) -> None:
    digits = len(fields.get("sign", "").strip())
    algorithm = "HMAC-SHA256 under the key" if digits == _HMAC_DIGITS else "MD5"
    terminal.heading(f"what is signed: {algorithm} of")
    shown = {name: _shown(name, value, show_openid) for name, value in fields.items()}
    text = signed_text(shown)
    terminal.line(f"  {text}{'&' * bool(text)}key={terminal.paint('<key>', 'cyan')}")
    if shown != fields:
        note = "  (payer ids are masked: --show-openid; what is not printable is escaped)"
        terminal.line(terminal.paint(note, "dim"))


def _shown(name: str, value: str, show_openid: bool) -> str:
    return printable(value if show_openid else masked(name, value))


def _print_findings(title: str, findings: list[Finding], terminal: Terminal) -> None:
    if not findings:
        return
    terminal.heading(title)
    for finding in findings:
        terminal.line(f"  {terminal.paint(finding.code, 'yellow')}")
        terminal.paragraph(finding.says, 4)
        for detail in finding.details:
            terminal.line(f"    - {detail}")
        terminal.paragraph(f"What to do: {finding.advice}", 4)
