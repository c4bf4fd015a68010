"""``wxnotify explain``: what is in a saved notification, what was signed, and why it is refused."""

from __future__ import annotations

import argparse
import re
from typing import Final, NamedTuple

from .. import Decrypted, Key, Notification, NotifyError, Verified, decrypt, verify
from .._kinds import read_source
from .._signature import is_encrypted
from ..errors import MerchantMismatch, UnknownMerchant
from .attempts import SIGNS, Case, signed_text
from .causes import causes_of, notes_on
from .hypotheses import masked
from .keys import (
    APIV3_KEY_VARIABLE,
    Keys,
    add_id_options,
    add_key_option,
    read_apiv3_keys,
    read_ids,
    read_keys,
)
from .kinds import Kind, kind_of
from .reading import Finding, read
from .terminal import Terminal, pad, printable
from .verify import add_file_argument, described, matched, read_body

_WIDEST_NAME: Final = 24
_WIDEST_VALUE: Final = 56
# Of a longer value, a ciphertext for instance, the table shows both ends.
_LONGEST_VALUE: Final = 64
_HEAD, _TAIL = 28, 6
_HMAC_DIGITS: Final = 64
# The orders of a combined one are JSON, each with its payer.
_PAYER_IN_JSON: Final = re.compile(r'("\w*openid"\s*:\s*")([^"]*)', re.IGNORECASE)


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
        "each guess is tried, and named only if it gives the very sign. A refund of APIv2, which is not "
        "signed, is decrypted. Exit code 0 if a receiver with these keys would read it, whichever kind it "
        "is; 1 if not, and for APIv3, whose signature is in the request's headers and not in the file.",
    )
    add_file_argument(parser)
    add_key_option(parser)
    parser.add_argument(
        "--apiv3-key-file",
        metavar="FILE",
        help="also try the APIv3 key in FILE, or in the environment variable WXNOTIFY_APIV3_KEY; rent and "
        "hotel events are decrypted with it",
    )
    parser.add_argument(
        "--show-openid", action="store_true", help="show payers' openids, which are masked otherwise"
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
    sign = reading.fields.get("sign", reading.fields.get("paySign", ""))
    kind = kind_of(reading.fields)
    if reading.fields:
        hidden = keys.texts + apiv3_keys.texts
        shown = {
            name: _shown(name, value, arguments.show_openid, hidden) for name, value in reading.fields.items()
        }
        _print_fields(shown, bool(sign), terminal)
        if sign:
            _print_signed(shown, shown != reading.fields, len(sign.strip()), terminal)
    if kind and kind.notification:
        _print_kind(kind, terminal)

    proof = _prove(reading.fields, keys, apiv3_keys, ids)
    refusal = reading.refusal or proof.refusal
    terminal.heading("verdict")
    if kind and kind.code == "apiv3":
        not_checked = terminal.paint("not checked", "yellow")
        terminal.line(f"  {not_checked}  its signature is not in the file")
    elif refusal is not None:
        terminal.line(f"  {terminal.paint(f'refused  {refusal.code}', 'red')}  {printable(str(refusal))}")
    if proof.source is not None:
        _print_proof(proof, reading.refusal is not None, keys, terminal)

    if refusal is not None:
        case = Case(reading.fields, sign, keys.texts, apiv3_keys.texts, *ids)
        _print_findings("likely cause", causes_of(reading, case, proof.source, refusal), terminal)
    _print_findings("also", notes_on(proof.source, keys), terminal)
    return 0 if refusal is None and proof.told else 1


class _Proof(NamedTuple):
    source: Verified | Decrypted | None = None
    #: Empty if it cannot be read.
    told: tuple[Notification, ...] = ()
    refusal: NotifyError | None = None
    #: Whether it is a rent or hotel event, and there is no key to decrypt it with.
    unopened: bool = False


def _prove(fields: dict[str, str], keys: Keys, apiv3_keys: Keys, ids: _Ids) -> _Proof:
    """Prove and read the fields as the receiver does."""
    proof = _Proof()
    try:
        source = _authenticated(fields, keys)
        proof = _Proof(source)
        _check_ids(fields, ids)
        return _Proof(source, read_source(source, [Key(text) for text in apiv3_keys.texts]))
    except UnknownMerchant:
        return proof._replace(unopened=True)
    except NotifyError as error:
        return proof._replace(refusal=error)


def _authenticated(fields: dict[str, str], keys: Keys) -> Verified | Decrypted:
    if is_encrypted(fields):
        return decrypt(fields, keys.texts)
    return verify(fields, keys.texts)


def _check_ids(fields: dict[str, str], ids: _Ids) -> None:
    for given, names in (
        (ids.mch_id, ("mch_id", "combine_mch_id")),
        (ids.appid, ("appid", "combine_appid", "app_id")),
    ):
        for name in names:
            received = fields.get(name)
            if given and received and received != given:
                raise MerchantMismatch(fields.get("out_trade_no", ""), name, received, (given,))


# --- printing ------------------------------------------------------------------


def _print_fields(shown: dict[str, str], signed: bool, terminal: Terminal) -> None:
    terminal.heading("fields")
    widest = min(max(map(len, shown)), _WIDEST_NAME)
    title = f"  {pad('name', widest)}  {pad('value', _WIDEST_VALUE)}" + "  signed" * signed
    terminal.line(terminal.paint(title.rstrip(), "dim"))
    for name, value in shown.items():
        why = "yes"
        if name in SIGNS:
            why = terminal.paint("no: the sign itself", "yellow")
        elif not value:
            why = terminal.paint("no: empty", "yellow")
        # With quotes, or nobody would see the white space.
        text = _cut(value if value == value.strip() else f"'{value}'")
        row = f"  {pad(printable(name), widest)}  {pad(text, _WIDEST_VALUE)}" + f"  {why}" * signed
        terminal.line(row.rstrip())


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_HEAD]}…{text[-_TAIL:]} ({len(text)} characters)"


def _print_signed(shown: dict[str, str], changed: bool, digits: int, terminal: Terminal) -> None:
    algorithm = "HMAC-SHA256 under the key" if digits == _HMAC_DIGITS else "MD5"
    terminal.heading(f"what is signed: {algorithm} of")
    text = signed_text(shown)
    terminal.line(f"  {text}{'&' * bool(text)}key={terminal.paint('<key>', 'cyan')}")
    if changed:
        note = "  (payer ids are masked: --show-openid; what is not printable is escaped)"
        terminal.line(terminal.paint(note, "dim"))


def _shown(name: str, value: str, show_openid: bool, keys: tuple[str, ...]) -> str:
    for key in keys:  # here already, because a part of one would not be known again
        value = value.replace(key, "<key>")
    return printable(value if show_openid else _without_payers(masked(name, value)))


def _without_payers(text: str) -> str:
    return _PAYER_IN_JSON.sub(lambda found: found[1] + masked("openid", found[2]), text)


def _print_kind(kind: Kind, terminal: Terminal) -> None:
    terminal.heading("kind")
    terminal.line(f"  {terminal.paint(kind.code, 'cyan')}")
    terminal.paragraph(kind.says, 4)
    terminal.paragraph(kind.advice, 4)


def _print_proof(proof: _Proof, undone: bool, keys: Keys, terminal: Terminal) -> None:
    assert proof.source is not None  # noqa: S101 - it was asked for
    holds = "the sign holds" if isinstance(proof.source, Verified) else "it is not signed, but it decrypts"
    if undone:
        holds = f"once that is undone, {holds}"
    terminal.line(f"  {terminal.paint(holds, 'green')}  {matched(proof.source, keys)}")
    for notification in proof.told:
        terminal.line(f"  {described(notification)}")
    if proof.unopened:
        not_decrypted = terminal.paint("not decrypted", "yellow")
        terminal.line(f"  {not_decrypted}  give the APIv3 key: --apiv3-key-file, or {APIV3_KEY_VARIABLE}")


def _print_findings(title: str, findings: list[Finding], terminal: Terminal) -> None:
    if not findings:
        return
    terminal.heading(title)
    for finding in findings:
        terminal.line(f"  {terminal.paint(finding.code, 'yellow')}")
        terminal.paragraph(finding.says, 4)
        for detail in finding.details:
            terminal.line(f"    - {_without_payers(detail)}")
        terminal.paragraph(f"What to do: {finding.advice}", 4)
