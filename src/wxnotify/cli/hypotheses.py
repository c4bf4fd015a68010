"""
Why a sign does not match: guesses, each tried out and named only if it reproduces the sign.

A guess is a row in ``HYPOTHESES``; one about values alone is a row in
``rewrites.py``. How it is tried is an attempt (``attempts.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .. import testing
from . import attempts as ways
from .attempts import Attempt, Case, Fields
from .reading import Finding
from .rewrites import REWRITES
from .terminal import printable

_MOST_CHANGES_SHOWN: Final = 4


class Hypothesis(NamedTuple):
    """A guess: what it says if it is true, what to do then, and how to try it."""

    code: str
    says: str
    advice: str
    attempts: Callable[[Case], Iterable[Attempt]]


def find_causes(case: Case) -> list[Finding]:
    """Try every hypothesis; give those that reproduce the sign, the likeliest first."""
    wanted = case.sign.strip().upper()
    seen: set[tuple[str, str]] = set()
    found: list[Finding] = []
    for hypothesis in HYPOTHESES:
        for attempt in hypothesis.attempts(case):
            way = _tried(attempt, case, wanted)
            if way and way not in seen:
                seen.add(way)
                changes = _changes(case.fields, attempt.fields)
                found.append(Finding(hypothesis.code, hypothesis.says, hypothesis.advice, changes))
                break
    return found


def _tried(attempt: Attempt, case: Case, wanted: str) -> tuple[str, str] | None:
    text = attempt.text(attempt.fields)
    for key in case.keys if attempt.keys is None else attempt.keys:
        if attempt.digest(text, key.encode(), wanted) == wanted:
            return hashlib.sha256(text).hexdigest(), key
    return None


def _changes(received: Fields, signed: Fields) -> tuple[str, ...]:
    """Say what was signed in the place of what came."""
    changes: list[str] = []
    for name in sorted({*received, *signed} - ways.SIGNS):
        came, was = received.get(name), signed.get(name)
        if came == was:
            continue
        if was is None:
            changes.append(f"{name} came, but was not signed")
        elif came is None:
            changes.append(f"{name} was signed as {_quoted(name, was)}, but did not come")
        else:
            changes.append(f"{name} came as {_quoted(name, came)}, but was signed as {_quoted(name, was)}")
    if len(changes) > _MOST_CHANGES_SHOWN:
        changes[_MOST_CHANGES_SHOWN:] = [f"{len(changes) - _MOST_CHANGES_SHOWN} more"]
    return tuple(changes)


def _quoted(name: str, value: str) -> str:
    return "'" + printable(masked(name, value)) + "'"


def masked(name: str, value: str) -> str:
    """Hide the middle of a payer's id; give other values as they are."""
    if not name.lower().endswith("openid"):
        return value
    return f"{value[:4]}****{value[-2:]}" if len(value) > 10 else "*" * len(value)


_YOUR_SENDER: Final = "WeChat Pay does not sign like that: mend the program that made this message"

HYPOTHESES: Final = (
    Hypothesis(
        "pay_sign_holds",
        "the paySign was made with the key",
        "it says that your own server made these parameters, and nothing about a payment",
        ways.exactly_if(lambda case: "sign" not in case.fields),
    ),
    Hypothesis(
        "sign_padded",
        "the sign is right, but has white space around it",
        "find what re-writes the body on its way; the sign must come as it was sent",
        ways.exactly_if(lambda case: case.sign != case.sign.strip() and case.sign == case.sign.upper()),
    ),
    Hypothesis(
        "lower_case_sign",
        "the sign is right, but in lower case",
        "WeChat Pay sends upper case; mend the program that made this message",
        ways.exactly_if(lambda case: case.sign != case.sign.upper()),
    ),
    Hypothesis(
        "sign_type_disagrees",
        "the sign is right by the algorithm of its length, but sign_type names the other one",
        "an MD5 sign has 32 digits, an HMAC-SHA256 sign 64; mend the program that made this message",
        ways.exactly_if(ways.disagrees),
    ),
    Hypothesis(
        "apiv3_key",
        "it was signed with the APIv3 key",
        "put the same kind of secret on both sides: notifications in XML take the APIv2 key",
        ways.with_keys(lambda case: case.apiv3_keys),
    ),
    Hypothesis(
        "test_key",
        "it was signed with the test key of wxnotify.testing: a notification made for tests",
        "no merchant has that key; give the sender yours, or do not use this message here",
        ways.with_keys(lambda case: (testing.KEY,)),
    ),
    Hypothesis(
        "key_with_white_space",
        "it was signed with the key and white space around it",
        "strip the key where the sender reads it: a line feed at the end of a file or variable is part of it",
        ways.padded_keys,
    ),
    Hypothesis(
        "key_case",
        "it was signed with the key in upper or lower case",
        "copy the key letter for letter",
        ways.other_case_keys,
    ),
    Hypothesis(
        "key_not_loaded",
        "it was signed with an empty key or a placeholder: the sender's configuration was not loaded",
        "anybody can make such a sign; never accept it, and mend the sender",
        ways.with_keys(lambda case: ways.NO_KEY),
    ),
    Hypothesis(
        "sign_type_left_out",
        "sign_type was left out of what was signed",
        "sign_type is signed like any field",
        ways.without_sign_type,
    ),
    Hypothesis(
        "sign_type_added",
        "sign_type was signed, but is not in the message",
        "find what drops it: all fields must reach the verification",
        ways.with_sign_type,
    ),
    Hypothesis(
        "empty_signed",
        "empty values were signed",
        f"they must be left out. {_YOUR_SENDER}",
        ways.with_empty,
    ),
    Hypothesis(
        "blank_dropped",
        "values of nothing but white space were taken for empty (the old official Java SDK does)",
        "do not put blank text into attach or other fields of an order",
        ways.blank_dropped,
    ),
    *(
        Hypothesis(rewrite.code, rewrite.says, rewrite.advice, ways.rewritten(rewrite))
        for rewrite in REWRITES
    ),
    Hypothesis(
        "white_space_lost",
        "white space around a value was signed, and lost on the way",
        "find the reader that strips values (xmltodict does), and give wxnotify the raw body",
        ways.one_padded,
    ),
    Hypothesis(
        "signed_as_gbk",
        "the text was signed in GBK, not UTF-8",
        _YOUR_SENDER,
        ways.as_bytes_of("gb18030"),
    ),
    Hypothesis(
        "signed_as_latin1",
        "the text was signed in Latin-1, not UTF-8",
        _YOUR_SENDER,
        ways.as_bytes_of("latin-1"),
    ),
    Hypothesis(
        "field_added",
        "a field was added on the way",
        "find what adds it: the body must reach the verification untouched",
        ways.one_added,
    ),
    Hypothesis(
        "field_lost",
        "a field was lost on the way",
        "give verify() all fields that parse() returned, the unknown ones too",
        ways.one_lost,
    ),
    Hypothesis(
        "hmac_without_key_suffix",
        "the HMAC was made without &key= and the key at the end of the text",
        "HMAC-SHA256 takes the same text as MD5, with &key=, and the key a second time as its own",
        ways.digested(ways.hmac_without_suffix),
    ),
    Hypothesis(
        "plain_sha256",
        "it is a plain SHA-256 and not an HMAC",
        _YOUR_SENDER,
        ways.digested(ways.plain_sha256),
    ),
    Hypothesis(
        "hmac_md5",
        "it is an HMAC-MD5 and not an MD5",
        _YOUR_SENDER,
        ways.digested(ways.hmac_md5),
    ),
    Hypothesis(
        "key_left_out",
        "there is no key in it: anybody can make such a sign",
        _YOUR_SENDER,
        ways.digested(ways.without_key),
    ),
    Hypothesis(
        "key_unnamed",
        "the key was added without &key=",
        _YOUR_SENDER,
        ways.digested(ways.key_unnamed),
    ),
    Hypothesis(
        "not_sorted",
        "the fields were not sorted by their names",
        _YOUR_SENDER,
        ways.in_document_order,
    ),
)
