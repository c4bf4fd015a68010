from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from wxnotify import Merchant, Payment, VerifiedResource
from wxnotify.apiv3 import read_order_answer
from wxnotify.errors import NotifyError
from wxnotify.testing import APPID, MCH_ID
from wxnotify.testing.apiv3 import Posted, apiv3, event, payment_event, signed

from ..support import either
from .posting import NOW, envelope_of, genuine, opened

SHOP = Merchant(MCH_ID, APPID, apiv3=apiv3())
PAID = payment_event(now=NOW)
NAMES = st.sampled_from([*PAID.headers, "wechatpay-nonce", "HTTP_WECHATPAY_NONCE", "Host"])
VALUES = st.text() | st.binary() | st.none() | st.integers() | st.sampled_from(list(PAID.headers.values()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(NAMES, VALUES) | st.lists(st.tuples(NAMES, VALUES)) | VALUES,
    st.binary() | st.just(PAID.body),
)
def test_whatever_comes_in_is_refused_unless_it_is_signed(headers, body):
    assert isinstance(either(lambda: opened(Posted(headers, body), SHOP)), NotifyError)


@given(st.sampled_from(list(PAID.headers)[1:]), VALUES)
def test_a_genuine_one_with_one_header_changed_is_refused(name, value):
    changed = Posted({**PAID.headers, name: value}, PAID.body)
    same = value in (PAID.headers[name], PAID.headers[name].encode())
    assert isinstance(either(lambda: opened(changed, SHOP)), VerifiedResource if same else NotifyError)


@given(st.data())
def test_a_genuine_one_with_one_byte_changed_is_a_bad_signature(data):
    at = data.draw(st.integers(0, len(PAID.body) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != PAID.body[at]))
    changed = PAID.body[:at] + bytes([byte]) + PAID.body[at + 1 :]
    assert either(lambda: opened(Posted(PAID.headers, changed), SHOP)).code == "bad_signature"


@given(st.binary() | JSON.map(lambda content: json.dumps(content).encode()))
def test_whatever_wechat_pay_signs_opens_or_is_refused(body):
    posted = signed(body, now=NOW)
    assert isinstance(either(lambda: opened(posted, SHOP)), NotifyError)
    answer = either(lambda: read_order_answer(SHOP, 200, posted.headers, body, NOW))
    assert isinstance(answer, (NotifyError, VerifiedResource))


@given(st.dictionaries(st.sampled_from([*envelope_of(PAID), "x"]), JSON))
def test_whatever_stands_in_the_envelope_it_opens_or_is_refused(changes):
    posted = genuine(json.dumps({**envelope_of(PAID), **changes}).encode())
    assert isinstance(either(lambda: opened(posted, SHOP)), (NotifyError, VerifiedResource))


@given(st.dictionaries(st.sampled_from([*envelope_of(PAID)["resource"], "x"]), JSON))
def test_whatever_stands_in_the_resource_it_opens_or_is_refused(changes):
    envelope = envelope_of(PAID)
    posted = genuine(json.dumps({**envelope, "resource": {**envelope["resource"], **changes}}).encode())
    assert isinstance(either(lambda: opened(posted, SHOP)), (NotifyError, VerifiedResource))


@settings(max_examples=200)
@given(st.dictionaries(st.text(), JSON))
def test_whatever_is_encrypted_comes_out_as_it_was_or_is_refused(content):
    read = either(lambda: opened(event("X.Y", content, now=NOW), SHOP))
    if isinstance(read, NotifyError):
        assert read.code == "bad_json"
    else:
        assert dict(read) == content
    if isinstance(read, VerifiedResource):
        assert isinstance(either(Payment.from_resource, read), (NotifyError, Payment))


@given(st.floats())
def test_on_any_clock_it_is_within_the_window_or_stale(now):
    read = either(lambda: opened(PAID, SHOP, now=now))
    assert isinstance(read, VerifiedResource) is (abs(now - NOW) <= 300)
    assert isinstance(read, VerifiedResource) or read.code == "stale_timestamp"
