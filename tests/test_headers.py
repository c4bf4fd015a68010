from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxnotify._headers import RSA, has_signature_headers, read_signature_headers
from wxnotify.errors import NotifyError

from .support import code_of, either
from .test_no_secrets import words_of_refusal

SIGNATURE, TIMESTAMP, NONCE = "Wechatpay-Signature", "Wechatpay-Timestamp", "Wechatpay-Nonce"
SERIAL, TYPE = "Wechatpay-Serial", "Wechatpay-Signature-Type"
SENT = {
    "Content-Type": "application/json",
    TIMESTAMP: "1795000000",
    NONCE: "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz",
    SIGNATURE: "c2lnbmVk",
    SERIAL: "527A6A50CDD9DEAD3AC1EEF12DC5BEE6AB4A2CA7",
    TYPE: RSA,
}
NAMES = [SIGNATURE, TIMESTAMP, NONCE, SERIAL, TYPE]


def pairs(headers: dict[str, str] = SENT) -> list[tuple[str, str]]:
    return list(headers.items())


def asgi(headers: dict[str, str] = SENT) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def environ(headers: dict[str, str] = SENT) -> dict[str, Any]:
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return {"REQUEST_METHOD": "POST", "wsgi.input": object(), "wsgi.multithread": True, **named}


class Message:
    """Headers that are no mapping, and of which one may come twice, as http.client has them."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    def items(self) -> list[tuple[str, str]]:
        return self._headers

    def __iter__(self) -> Any:
        return iter([name for name, _ in self._headers])


SPELLINGS = {
    "mapping": SENT,
    "lower_case": {name.lower(): value for name, value in SENT.items()},
    "upper_case": {name.upper(): value for name, value in SENT.items()},
    "pairs": pairs(),
    "pairs_that_are_lists": [list(pair) for pair in pairs()],
    "an_iterator_of_pairs": tuple(pairs()),
    "asgi": asgi(),
    "environ": environ(),
    "items": Message(pairs()),
}


@pytest.mark.parametrize("headers", SPELLINGS.values(), ids=SPELLINGS)
def test_headers_are_read_however_a_server_shows_them(headers):
    read = read_signature_headers(headers)
    assert tuple(read) == (1795000000, "1795000000", SENT[NONCE], "c2lnbmVk", SENT[SERIAL], RSA)
    assert has_signature_headers(headers)


def test_without_a_type_it_is_rsa():
    without = {name: value for name, value in SENT.items() if name != TYPE}
    assert read_signature_headers(without).signature_type == RSA
    assert read_signature_headers({**SENT, TYPE: "WECHATPAY2-SM2-WITH-SM3"}).signature_type != RSA


def test_the_id_of_a_public_key_is_a_serial():
    key_id = "PUB_KEY_ID_0114232134912410000000000000001000"
    assert read_signature_headers({**SENT, SERIAL: key_id}).serial == key_id


def test_a_probe_is_known_by_how_its_signature_begins():
    assert read_signature_headers({**SENT, SIGNATURE: "WECHATPAY/SIGNTEST/c2ln"}).is_probe
    assert not read_signature_headers({**SENT, SIGNATURE: "c2lnWECHATPAY/SIGNTEST/"}).is_probe
    assert not read_signature_headers(SENT).is_probe


# --- what is absent ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, [], (), environ({}), {"Host": "localhost"}, None, 5, "Wechatpay", b""]
)
def test_what_has_no_signature_is_unsigned(headers):
    assert code_of(read_signature_headers, headers) == "missing_signature"
    assert not has_signature_headers(headers)


@pytest.mark.parametrize("value", [None, ""])
def test_a_signature_that_is_absent_or_empty_is_missing(value):
    headers = {**SENT, SIGNATURE: value}
    if value is None:
        del headers[SIGNATURE]
    assert code_of(read_signature_headers, headers) == "missing_signature"


@pytest.mark.parametrize("name", [TIMESTAMP, NONCE, SERIAL])
def test_another_header_that_is_absent_is_named(name):
    without = {one: value for one, value in SENT.items() if one != name}
    with pytest.raises(NotifyError, match=f"{name} is absent") as refusal:
        read_signature_headers(without)
    assert refusal.value.code == "bad_header"


@pytest.mark.parametrize("name", [TIMESTAMP, NONCE, SERIAL, TYPE])
@pytest.mark.parametrize("value", ["", None, 5, ["x"], {}])
def test_another_header_that_is_empty_or_no_text_is_refused(name, value):
    assert code_of(read_signature_headers, {**SENT, name: value}) == "bad_header"


# --- what is there twice -------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", ["1795000000", "x"])
def test_a_header_that_comes_twice_is_refused(name, other):
    assert code_of(read_signature_headers, [*pairs(), (name, other)]) == "bad_header"
    assert code_of(read_signature_headers, [(name, other), *pairs()]) == "bad_header"
    assert code_of(read_signature_headers, Message([*pairs(), (name, other)])) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_comes_twice_is_refused_even_if_both_are_equal(name):
    assert code_of(read_signature_headers, [*pairs(), (name, SENT[name])]) == "bad_header"
    assert code_of(read_signature_headers, [*asgi(), (name.lower().encode(), b"x")]) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "respelled",
    [
        str.lower,
        str.upper,
        lambda name: f"HTTP_{name.upper().replace('-', '_')}",
        lambda name: name.replace("-", "_"),
        lambda name: name.replace("-", "_", 1),
    ],
)
def test_a_header_that_comes_in_two_spellings_is_refused(name, respelled):
    assert code_of(read_signature_headers, {**SENT, respelled(name): SENT[name]}) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("respelled", ["Wechatpay_{}", "wechatpay_{}", "http_wechatpay_{}"])
def test_underscores_are_no_spelling_of_a_header_but_in_an_environ(name, respelled):
    respelled = respelled.format(name.removeprefix("Wechatpay-"))
    rest = {one: value for one, value in SENT.items() if one != name}
    assert code_of(read_signature_headers, {**rest, respelled: SENT[name]}) == "bad_header"
    assert has_signature_headers({respelled: "x"})


def test_the_names_of_an_environ_are_none_among_pairs():
    # WSGI servers make such names; a client that sends one itself is an attacker's.
    assert code_of(read_signature_headers, list(environ().items())) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
def test_headers_joined_by_a_comma_are_refused(name):
    assert code_of(read_signature_headers, {**SENT, name: f"{SENT[name]}, {SENT[name]}"}) == "bad_header"
    assert code_of(read_signature_headers, {**SENT, name: f"{SENT[name]},{SENT[name]}"}) == "bad_header"


# --- shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "timestamp",
    [
        "+1795000000", "-1795000000", " 1795000000", "1795000000 ", "1_795_000_000", "１７９５００００００",
        "1795000000.0", "nan", "inf", "1e9", "0x6afd", "01795000000", "1795000000000", "9" * 30, "٣", "²",
        "1795000000\n", "now",
    ],
)  # fmt: skip
def test_a_timestamp_is_plain_digits_and_nothing_else(timestamp):
    assert code_of(read_signature_headers, {**SENT, TIMESTAMP: timestamp}) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\0", "\t", "\x7f", "\x1b", "é", "密", "\ud800", "\u2028"], ids=ascii
)
def test_a_value_holds_no_control_character_and_nothing_beyond_ascii(name, bad):
    for value in (SENT[name] + bad, bad + SENT[name], bad):
        assert code_of(read_signature_headers, {**SENT, name: value}) == "bad_header"
        encoded = value.encode("utf-8", "surrogatepass")
        assert code_of(read_signature_headers, {**SENT, name: encoded}) == "bad_header"


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_20_kilobytes_is_refused(name):
    assert code_of(read_signature_headers, {**SENT, name: "1" * 20_000}) == "bad_header"


@pytest.mark.parametrize(
    "serial", ["../../etc/passwd", "A" * 65, "527A 6A50", "527A-6A50", "5%41", "a/b", "A.pem"]
)
def test_a_serial_is_a_word(serial):
    assert code_of(read_signature_headers, {**SENT, SERIAL: serial}) == "bad_header"


def test_a_nonce_with_a_space_is_refused():
    assert code_of(read_signature_headers, {**SENT, NONCE: "a b"}) == "bad_header"


def test_what_is_wrong_with_base64_is_left_to_who_decodes_it():
    # It is a bad signature then, and no bad header.
    for signature in ("c2ln bmVk", "****", "====", "c2ln", "-_-_"):
        assert read_signature_headers({**SENT, SIGNATURE: signature}).signature == signature


# --- what it is safe for --------------------------------------------------------------


def test_a_refusal_its_frames_and_a_repr_show_no_signature():
    signature = "c2lnbmVkIGJ5IFdlQ2hhdCBQYXk="
    signed = {**SENT, SIGNATURE: signature}
    assert signature not in repr(read_signature_headers(signed))
    for refused in ([*pairs(signed), (NONCE, "x")], {**signed, TIMESTAMP: "x"}, {**signed, NONCE: ""}):
        with pytest.raises(NotifyError) as refusal:
            read_signature_headers(refused)
        assert signature not in "".join(words_of_refusal(refusal.value))


def test_what_was_read_survives_pickling():
    read = read_signature_headers(SENT)
    assert pickle.loads(pickle.dumps(read)) == read


@pytest.mark.parametrize("name", [*NAMES, *map(str.lower, NAMES), "HTTP_WECHATPAY_SERIAL", "wechatpay_nonce"])
def test_one_header_of_that_kind_in_any_spelling_decides_the_dialect(name):
    assert has_signature_headers({name: ""})
    assert has_signature_headers([(name.encode(), b"")])


@pytest.mark.parametrize(
    "name", ["Wechatpay", "X-Wechatpay-Signature", "Wechatpay-Signature-", "Signature", "", 5, None]
)
def test_another_header_does_not(name):
    assert not has_signature_headers({name: "x"})


WORDS = st.text() | st.binary() | st.none() | st.integers() | st.sampled_from([*NAMES, *SENT.values()])


@given(
    st.dictionaries(WORDS, WORDS)
    | st.lists(st.tuples(WORDS, WORDS))
    | st.lists(WORDS)
    | st.fixed_dictionaries(dict.fromkeys(NAMES, WORDS))
    | WORDS
)
def test_any_headers_are_read_or_refused(headers):
    assert has_signature_headers(headers) in (True, False)
    read = either(read_signature_headers, headers)
    assert isinstance(read, NotifyError) or "\n" not in read.nonce + read.timestamp_text
