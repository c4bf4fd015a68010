from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxnotify._resources import VerifiedResource, read_json
from wxnotify.errors import BadJSON, NotifyError

from .support import SOURCE, code_of, either

PAID = {"out_trade_no": "A-1001", "amount": {"total": 100}, "payer": {"openid": "oPayer"}}
TOLD = {
    "mch_id": "1900000109",
    "serial": "527A6A50",
    "key_index": 1,
    "notification_id": "EV-2018022511223320873",
    "event_type": "TRANSACTION.SUCCESS",
    "create_time": "2026-11-23T12:00:00+08:00",
    "summary": "支付成功",
    "original_type": "transaction",
}


def resource() -> VerifiedResource:
    return VerifiedResource._make(PAID, **TOLD)


# --- VerifiedResource -----------------------------------------------------------------


def test_it_is_a_mapping_of_what_was_signed():
    made = resource()
    assert dict(made) == PAID
    assert len(made) == 3
    assert made["amount"]["total"] == 100
    assert "attach" not in made
    assert {name: getattr(made, name) for name in TOLD} == TOLD
    assert not made.sandbox


def test_an_answer_has_no_envelope():
    made = VerifiedResource._make(PAID, mch_id="1900000109", serial="527A6A50")
    assert (made.event_type, made.notification_id, made.key_index) == ("", "", None)
    assert repr(made) == "<VerifiedResource answer>"


def test_nobody_makes_one_by_hand():
    with pytest.raises(TypeError, match="APIv3 dialect alone"):
        VerifiedResource()
    with pytest.raises(TypeError):
        VerifiedResource(PAID)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["mch_id", "event_type", "_content", "other"])
def test_it_cannot_be_changed(name):
    made = resource()
    with pytest.raises(AttributeError, match="what WeChat Pay said"):
        setattr(made, name, "x")
    with pytest.raises(AttributeError, match="what WeChat Pay said"):
        delattr(made, name)
    with pytest.raises(TypeError):
        made["out_trade_no"] = "A-1002"  # type: ignore[index]


def test_its_repr_names_the_event_and_shows_no_value():
    assert repr(resource()) == "<VerifiedResource 'TRANSACTION.SUCCESS' 'EV-2018022511223320873'>"
    odd = VerifiedResource._make({}, mch_id="1", serial="1", event_type="A\nB", notification_id="x" * 999)
    assert "\n" not in repr(odd)
    assert len(repr(odd)) < 150


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_it_survives_pickling_and_copying(again):
    made = again(resource())
    assert made == resource()
    assert {name: getattr(made, name) for name in TOLD} == TOLD


# --- read_json ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {},
        PAID,
        {"a": [1, -2, 0, None, True, "密", "", {}, []]},
        {"attach": 'a\nb\\ud83d"', "emoji": "😀"},
        {"ratio": 0.5, "big": 4200000012322021104000000000},
    ],
)
def test_an_object_is_read_as_it_is(content):
    for text in (json.dumps(content), json.dumps(content, ensure_ascii=False, indent=2)):
        assert read_json(text.encode()) == content


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert read_json(rb'{"attach": "\ud83d\ude00"}') == {"attach": "😀"}


def test_a_number_with_a_fraction_or_an_exponent_is_no_integer():
    read = read_json(b'{"a": 100.0, "b": 1e2, "c": 100}')
    assert [type(value) for value in read.values()] == [float, float, int]


NOT_JSON = {
    "empty": b"",
    "blank": b"  ",
    "text": b"hello",
    "cut": b'{"a": 1',
    "two": b'{"a": 1}{"b": 2}',
    "trailing_comma": b'{"a": 1,}',
    "single_quotes": b"{'a': 1}",
    "comment": b'{"a": 1 /* 2 */}',
    "raw_line_feed": b'{"a": "\n"}',
    "nul": b'{"a": "\0"}',
    "nul_behind": b'{"a": 1}\0',
    "xml": b"<xml><a>1</a></xml>",
    "octal": b'{"a": 0100}',
    "plus": b'{"a": +1}',
    "underscore": b'{"a": 1_0}',
    "hex": b'{"a": 0x10}',
    "point_behind": b'{"a": 1.}',
    "wide_digits": '{"a": １}'.encode(),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_refused(body):
    assert said_of(body) == "the body is not JSON"


def said_of(body: bytes) -> str:
    with pytest.raises(BadJSON) as refusal:
        read_json(body)
    return str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        '{"a": "é"}'.encode("latin-1"),
        '{"a": "密"}'.encode("gbk"),
        '{"a": 1}'.encode("utf-16"),
        '{"a": "é"}'.encode("utf-16"),
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xff"}',
    ],
    ids=["latin-1", "gbk", "utf-16", "utf-16_text", "overlong", "encoded_surrogate", "ff"],
)
def test_another_encoding_than_utf_8_is_refused(body):
    assert said_of(body) == "the body is not UTF-8"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_json_that_python_would_guess_the_encoding_of_is_refused(encoding):
    body = '{"a": 1}'.encode(encoding)
    assert json.loads(body) == {"a": 1}
    assert code_of(read_json, body) == "bad_json"


@pytest.mark.parametrize("body", [b"[]", b'[{"a": 1}]', b'"a"', b"1", b"null", b"true", b"1.5"])
def test_another_value_than_an_object_is_refused(body):
    assert said_of(body) == "the body is JSON, but no object"


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": 1, "id": 2}',
        b'{"id": 1, "id": 1}',
        rb'{"id": 1, "\u0069d": 2}',
        rb'{"id": 1, "\u0069\u0064": 2}',
        b'{"a": {"id": 1, "id": 2}}',
        b'{"a": [{"id": 1, "b": 2, "id": 3}]}',
        b'{"": 1, "": 2}',
    ],
)
def test_a_name_that_comes_twice_is_refused(body):
    assert said_of(body) == "the body has a name twice in one object"


def test_a_name_may_come_again_in_another_object():
    assert read_json(b'{"id": {"id": 1}, "b": [{"id": 2}, {"id": 3}]}')["id"] == {"id": 1}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(number):
    assert said_of(f'{{"a": {number}}}'.encode()) == f"the body holds {number}, which is no number"


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "1" * 400 + ".5", "1" * 65, "-" + "1" * 64, "1" * 5_000]
)
def test_a_number_too_large_is_refused(number):
    assert said_of(f'{{"a": [{number}]}}'.encode()) == "the body holds a number too large"


def test_a_number_of_64_digits_is_read():
    assert read_json(b'{"a": ' + b"1" * 64 + b"}")["a"] == int("1" * 64)


@pytest.mark.parametrize("escape", [r"\ud800", r"\uDC00", r"\udc00\ud800", r"\ud83dx", r"x\uDE00"])
def test_half_a_surrogate_pair_is_refused(escape):
    for body in (f'{{"a": ["{escape}"]}}', f'{{"{escape}": 1}}'):
        assert said_of(body.encode()) == "the body holds half a surrogate pair"


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return ('{"a": ' + opening * (depth - 1) + "1" + closing * (depth - 1) + "}").encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_32_objects_and_lists_may_stand_in_one_another_and_no_more(opening, closing):
    assert read_json(nested(32, opening, closing))
    for depth in (33, 100, 900, 5_000, 30_000):
        assert "more than 32 objects and lists" in said_of(nested(depth, opening, closing))


def test_the_refusal_says_what_it_is_of():
    with pytest.raises(BadJSON, match=r"^the answer is not JSON$"):
        read_json(b"", "the answer")


@pytest.mark.parametrize(
    "body", [*NOT_JSON.values(), b'{"id": 1, "id": "hunter2"}', b'{"hunter2": 1e999}', b"\xff"]
)
def test_a_refusal_holds_nothing_of_what_was_read(body):
    refused = either(read_json, b'{"secret": "hunter2",' + body[1:])
    words = [repr(refused), str(refused)]
    for seen in (refused, refused.__context__, refused.__cause__):
        if seen is not None:
            summary = traceback.TracebackException.from_exception(seen, capture_locals=True)
            frames = [frame for frame in summary.stack if frame.filename.startswith(str(SOURCE))]
            words += [repr(frame.locals) for frame in frames]
            words.append(repr(vars(seen)))
    assert "hunter2" not in "".join(words)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_whatever_was_written_is_read_back(content):
    assert read_json(json.dumps(content, ensure_ascii=False).encode("utf-8")) == content
    assert read_json(json.dumps(content).encode()) == content


@given(st.binary() | st.text(alphabet='{}[]":,01e-+.\\u d8ntrfa\n').map(str.encode))
def test_any_bytes_are_read_or_refused(body):
    read = either(read_json, body)
    assert isinstance(read, (dict, NotifyError))
