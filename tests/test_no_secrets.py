"""The key, the text that is signed with it and the signature it gives appear nowhere."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from wxnotify import (
    Key,
    Merchant,
    NotifyError,
    Payment,
    check_amount,
    check_merchant,
    parse,
    sign,
    verify,
    write,
)
from wxnotify._keys import as_keys
from wxnotify._merchants import Ring
from wxnotify.testing import APPID, KEY, MCH_ID, payment_fields

from .support import SOURCE, reference_sign, signed, string_to_sign

OLD = "an-older-key-of-our-own-making-1"
PAID = {name: value for name, value in payment_fields().items() if value}


class Case(NamedTuple):
    name: str
    action: Callable[[], object]
    #: The message whose signature the action computes, if it does.
    fields: dict[str, str] | None = None
    #: Texts of keys that the action is given.
    keys: tuple[str, ...] = (KEY,)


def message(
    name: str, fields: dict[str, Any], key: Any = KEY, keys: tuple[str, ...] = (KEY,), **options: Any
) -> Case:
    text = {n: v for n, v in fields.items() if isinstance(n, str) and isinstance(v, str)}
    whole = text if len(text) == len(fields) else None
    return Case(name, lambda: Payment.from_verified(verify(fields, key, **options)), whole, keys)


def given_a_bad_key(name: str, bad: object, *secrets: str) -> Iterator[Case]:
    for call, action in {
        "Key": lambda: Key(bad),
        "Key_any_length": lambda: Key(bad, any_length=True),
        "as_keys": lambda: as_keys(bad),
        "as_keys_of_several": lambda: as_keys([KEY, bad, OLD]),
        "as_keys_of_a_generator": lambda: as_keys(one for one in (KEY, bad, OLD)),
        "sign": lambda: sign(PAID, bad),
        "verify": lambda: verify(signed(PAID), bad),
        "verify_with_several": lambda: verify(signed(PAID), [KEY, bad]),
        "Merchant": lambda: Merchant(MCH_ID, APPID, bad),
        "Merchant_with_several": lambda: Merchant(MCH_ID, APPID, (KEY, bad)),
    }.items():
        yield Case(f"{name}_{call}", action, None, (KEY, OLD, *secrets))


AMBIGUOUS = {**PAID, "attach": "x&bank_type=y"}
CASES = [
    message("genuine", signed(PAID)),
    message("genuine_hmac", signed(PAID, KEY, "HMAC-SHA256")),
    message("genuine_old_key", signed(PAID, OLD), [KEY, OLD], (KEY, OLD)),
    message("forged", {**PAID, "sign": "A" * 32}),
    message("forged_hmac", {**PAID, "sign": "A" * 64}),
    message("forged_several_keys", {**PAID, "sign": "A" * 32}, [KEY, Key(OLD)], (KEY, OLD)),
    message("tampered", {**signed(PAID), "total_fee": "1"}),
    message("ambiguous", signed(AMBIGUOUS)),
    message("ambiguous_hmac", signed(AMBIGUOUS, KEY, "HMAC-SHA256")),
    message("no_sign", PAID),
    message("lower_case_sign", {**PAID, "sign": "a" * 32}),
    message("bad_sign_type", {**signed(PAID), "sign_type": "NONE"}),
    message("forbidden_sign_type", signed(PAID), sign_types=("HMAC-SHA256",)),
    message("return_code_fail", {**PAID, "return_code": "FAIL"}),
    message("surrogate", {**PAID, "attach": "\ud800", "sign": "A" * 32}),
    message("not_text", {**PAID, "total_fee": 100, "sign": "A" * 32}),
    message("bad_name", {**PAID, "a&b": "1", "sign": "A" * 32}),
    message("not_a_payment", signed({"appid": APPID, "mch_id": MCH_ID})),
    message("bad_amount", signed({**PAID, "total_fee": "1_0"})),
    message("bad_id", signed({**PAID, "out_trade_no": "a b"})),
    Case("fields_are_no_mapping", lambda: verify(b"<xml/>", KEY)),
    Case("sign_surrogate", lambda: sign({**PAID, "attach": "\ud800"}, KEY)),
    Case("sign_not_text", lambda: sign({**PAID, "attach": 5}, KEY)),
    Case("sign_with_unknown_type", lambda: sign(PAID, KEY, "SHA1"), PAID),
    Case("parse_dtd", lambda: parse(b"<!DOCTYPE xml><xml/>")),
    Case("write_bad_value", lambda: write({**signed(PAID), "attach": "\0"})),
    Case("merchant_without_id", lambda: Merchant("", APPID, KEY)),
    Case("merchant_without_app", lambda: Merchant(MCH_ID, [], [KEY, OLD]), None, (KEY, OLD)),
    Case("merchant_of_no_algorithm", lambda: Merchant(MCH_ID, APPID, KEY, sign_types=())),
    Case("merchant_twice", lambda: Ring([Merchant(MCH_ID, APPID, KEY)] * 2)),
    Case("merchant_unknown", lambda: Ring(Merchant(MCH_ID, APPID, KEY)).find({})),
    Case(
        "foreign_payment",
        lambda: Merchant("1", APPID, KEY).check_fields(verify(signed(PAID), KEY)),
    ),
    Case("wrong_amount", lambda: check_amount(Payment.from_verified(verify(signed(PAID), KEY)), 1)),
    Case(
        "foreign_app",
        lambda: check_merchant(Payment.from_verified(verify(signed(PAID), KEY)), mch_id=MCH_ID, appid="wx1"),
    ),
    *given_a_bad_key("short_key", "hunter2", "hunter2"),
    *given_a_bad_key("long_key", "hunter2" * 9, "hunter2"),
    *given_a_bad_key("key_with_line_feed", OLD[:31] + "\n", OLD[:31]),
    *given_a_bad_key("key_with_a_space", " " + OLD[1:], OLD[1:]),
    *given_a_bad_key("key_with_letters_of_other_scripts", OLD[:31] + "é", OLD[:31]),
    *given_a_bad_key("key_as_bytes", OLD.encode()),
    *given_a_bad_key("key_in_a_list", [[OLD]]),
    *given_a_bad_key("surrogate_key", "hunter2\ud800", "hunter2"),
]


def words_of(value: object) -> Iterator[str]:
    """Everything a log, a tracker or a queue could make of *value*."""
    yield repr(value)
    yield str(value)
    yield f"{value}"
    try:
        yield pickle.dumps(value).decode("latin-1")
    except TypeError:
        assert isinstance(value, (Key, Merchant, tuple, Payment)), (
            "only what holds a key may refuse to be pickled"
        )
    except AttributeError:
        pass  # made of something local to a test


def words_of_refusal(error: BaseException) -> Iterator[str]:
    """Its text, the text of what it came from, and the local variables of every frame of the library."""
    seen: BaseException | None = error
    while seen is not None:
        yield from words_of(seen)
        yield from (repr(one) for one in vars(seen).values())
        summary = traceback.TracebackException.from_exception(seen, capture_locals=True)
        yield from summary.format_exception_only()
        for frame in summary.stack:
            if frame.filename.startswith(str(SOURCE)):
                yield from (frame.locals or {}).values()
        seen = seen.__cause__ or seen.__context__


def outcome(case: Case) -> str:
    try:
        return "\n".join(words_of(case.action()))
    except (NotifyError, TypeError) as error:
        return "\n".join(words_of_refusal(error))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_secret_is_in_any_result_refusal_local_variable_or_log(case, caplog):
    with caplog.at_level(logging.DEBUG):
        words = outcome(case)
    words += "".join(record.getMessage() + repr(vars(record)) for record in caplog.records)
    for key in case.keys:
        assert not leaked(key, words)
        if case.fields is not None:
            text = string_to_sign(case.fields, key)
            assert not leaked(text, words)
            assert not leaked(text.removesuffix(f"&key={key}"), words)
            for expected in signatures_of(case.fields, key):
                # Where the sender knew it, it is among the fields, which are nobody's secret.
                assert expected not in words or case.fields.get("sign") == expected


def leaked(secret: str, words: str) -> bool:
    """Look for *secret* as it is, and as a repr spells its text or its bytes."""
    forms = (
        secret,
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(secret.encode("utf-8", "surrogatepass"))[2:-1],
    )
    return any(form in words for form in forms)


def signatures_of(fields: dict[str, str], key: str) -> list[str]:
    try:
        return [reference_sign(fields, key, sign_type) for sign_type in ("MD5", "HMAC-SHA256")]
    except UnicodeEncodeError:
        return []  # there is none of text that UTF-8 cannot carry


def test_a_leak_would_be_seen():
    def leak(key: str) -> None:
        raise NotifyError("a message")

    # The frame of a function of the library that keeps the key in a local variable.
    namespace: dict[str, Any] = {"NotifyError": NotifyError}
    exec(compile("def leak(key):\n raise NotifyError('x')", str(SOURCE / "_leak.py"), "exec"), namespace)
    assert KEY in outcome(Case("leak", lambda: namespace["leak"](KEY)))
    assert KEY not in outcome(Case("a frame of somebody else", lambda: leak(KEY)))
    assert KEY in outcome(Case("text", lambda: namespace["NotifyError"](f"key {KEY}")))


@pytest.mark.parametrize(
    "made", [Key(KEY), Merchant(MCH_ID, APPID, KEY), Ring(Merchant(MCH_ID, APPID, KEY))], ids=type
)
def test_what_holds_a_key_has_no_public_way_to_its_text(made):
    for name in dir(made):
        if not name.startswith("_"):
            assert KEY not in repr(getattr(made, name))
    assert KEY not in repr(made)
    assert not hasattr(made, "__dict__")
