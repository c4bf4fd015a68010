from __future__ import annotations

import copy
import pickle

import pytest

from wxnotify import NotifyError, Reply, build_reply, errors, parse
from wxnotify._reply import fail_reply

SUCCESS = b"<xml><return_code><![CDATA[SUCCESS]]></return_code><return_msg><![CDATA[OK]]></return_msg></xml>"


def test_success_is_the_documented_answer_byte_for_byte():
    assert build_reply() == Reply(
        200, (("Content-Type", "text/xml; charset=utf-8"), ("Content-Length", str(len(SUCCESS)))), SUCCESS
    )


def test_a_reply_is_a_value_and_no_tuple_that_a_framework_would_read_as_its_own():
    reply = build_reply()
    assert not isinstance(reply, tuple)
    assert reply == build_reply()
    assert hash(reply) == hash(build_reply())
    assert reply != build_reply("FAIL")
    assert reply != (reply.status, reply.headers, reply.body)
    assert all(part in repr(reply) for part in ("200", "text/xml", "SUCCESS"))


@pytest.mark.parametrize("name", ["status", "headers", "body", "anything"])
def test_a_reply_cannot_be_changed(name):
    reply = build_reply()
    with pytest.raises(AttributeError):
        setattr(reply, name, 500)
    assert reply == build_reply()


@pytest.mark.parametrize(("status", "sent"), [(None, 500), (400, 400), (401, 401), (503, 503), (599, 599)])
def test_fail_goes_out_with_a_status_that_says_so_too(status, sent):
    reply = build_reply("FAIL", "bad_signature", status=status)
    assert reply.status == sent
    assert parse(reply.body) == {"return_code": "FAIL", "return_msg": "bad_signature"}


@pytest.mark.parametrize("status", [100, 200, 204, 302, 399, 600, 0, -1])
def test_fail_is_never_sent_with_a_status_that_means_success(status):
    with pytest.raises(ValueError, match="status"):
        build_reply("FAIL", status=status)


@pytest.mark.parametrize("status", [201, 204, 302, 400, 500])
def test_success_is_sent_with_200_alone(status):
    with pytest.raises(ValueError, match="status"):
        build_reply(status=status)
    assert build_reply(status=200) == build_reply()


@pytest.mark.parametrize("return_code", ["", "success", "OK", "SUCCESS ", "FAIL]]>", None, True])
def test_there_is_no_third_answer(return_code):
    with pytest.raises(ValueError, match="return_code"):
        build_reply(return_code)


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ("", ""),
        ("]]>", "]]>"),
        ("]]]]>>", "]]]]>>"),
        (
            "]]></return_msg><return_code>SUCCESS</return_code>",
            "]]></return_msg><return_code>SUCCESS</return_code>",
        ),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("支付\U0001f600", "支付\U0001f600"),
        ("a\0b\x1bc\x7f", "abc\x7f"),
        ("\ud800a\udfffb\ufffe\uffff", "ab"),
        ("x" * 127 + "]]>", "x" * 127 + "]"),
        ("]]>" * 60, ("]]>" * 60)[:128]),
        ("\0" * 200 + "end", "end"),
        ("\U0001f600" * 200, "\U0001f600" * 128),
    ],
    ids=ascii,
)
def test_a_message_is_escaped_stripped_and_cut_to_128_characters(message, read):
    assert parse(build_reply("FAIL", message).body) == {"return_code": "FAIL", "return_msg": read}


@pytest.mark.parametrize("message", ["OK", "支付", "]]>", "\U0001f600" * 200])
def test_the_length_announced_is_that_of_the_bytes(message):
    reply = build_reply("SUCCESS", message)
    assert dict(reply.headers)["Content-Length"] == str(len(reply.body))


@pytest.mark.parametrize(
    "name", sorted(set(errors.__all__) - {"AmountMismatch", "MerchantMismatch", "QueryFailed"})
)
def test_every_refusal_is_told_fail_with_its_code_and_nothing_of_its_text(name):
    error: NotifyError = getattr(errors, name)("detail of the request")
    reply = fail_reply(error)
    assert reply.status == error.status
    if error.status == 405:
        assert dict(reply.headers)["Allow"] == "POST"
        assert dict(reply.headers)["Content-Length"] == "0"
        assert reply.body == b""
    else:
        assert parse(reply.body) == {"return_code": "FAIL", "return_msg": error.code}


def test_a_mismatch_is_told_by_its_code_and_no_amount():
    reply = fail_reply(errors.AmountMismatch("A-1001", 1, "CNY", 100, "CNY"))
    assert parse(reply.body) == {"return_code": "FAIL", "return_msg": "amount_mismatch"}


def test_a_reply_can_be_copied_and_pickled_and_not_changed():
    reply = build_reply()
    assert copy.copy(reply) == pickle.loads(pickle.dumps(reply)) == reply
    with pytest.raises(AttributeError):
        reply.status = 500
    with pytest.raises(AttributeError):
        del reply.body


# --- the other dialects --------------------------------------------------------


def test_apiv3_is_answered_in_json_and_rent_and_hotel_events_in_words_of_their_own():
    assert build_reply(dialect="APIv3").body == b'{"code":"SUCCESS","message":"OK"}'
    assert dict(build_reply(dialect="APIv3").headers)["Content-Type"] == "application/json; charset=utf-8"
    fail = build_reply("FAIL", "no_handler", dialect="pay_after")
    assert parse(fail.body) == {"code": "FAIL", "message": "no_handler"}
    assert fail.status == 500


def test_apiv3_may_be_answered_without_a_body():
    assert build_reply(status=204, dialect="APIv3") == Reply(204, (), b"")


@pytest.mark.parametrize("dialect", ["APIv2", "pay_after"])
def test_xml_is_never_answered_without_a_body(dialect):
    with pytest.raises(ValueError, match="204 contradicts SUCCESS"):
        build_reply(status=204, dialect=dialect)


def test_a_message_of_apiv3_is_cut_to_its_64_characters():
    assert build_reply("FAIL", "x" * 100, dialect="APIv3").body == b'{"code":"FAIL","message":"%b"}' % (
        b"x" * 64
    )


def test_there_is_no_other_dialect():
    with pytest.raises(ValueError, match="dialect"):
        build_reply(dialect="APIv1")
