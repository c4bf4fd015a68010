from __future__ import annotations

import copy
import logging
import pickle
import threading

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wxnotify import Key, Merchant
from wxnotify.apiv3 import APIv3, PlatformKey, _ring
from wxnotify.errors import BadCiphertext, ConfigurationError, NotifyError
from wxnotify.testing import KEY, apiv3_keys
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    PUBLIC_KEY_ID,
    SERIAL,
    apiv3,
    payment_event,
    platform_keys,
    signed,
)

from ..support import code_of, either
from .posting import NOW, merchant, opened, resealed, with_headers
from .test_platform_keys import certificate_pem_of, public_pem_of

CERTIFICATE, PUBLIC_KEY = platform_keys()
OTHER_V3_KEY = "another-key-of-our-own-making-02"
OTHER = PlatformKey.from_public_key("PUB_KEY_ID_2", apiv3_keys.PUBLIC_KEY)
UNKNOWN = with_headers(payment_event(now=NOW), Serial="5157F09EFDC096DE15EBE81A47057A7232F1B8E1")


# --- what it is made of ---------------------------------------------------------------


def test_it_shows_how_many_keys_it_has_and_none_of_them():
    assert repr(APIv3(API_V3_KEY, CERTIFICATE)) == "<APIv3 1 key, 1 platform key>"
    assert repr(apiv3([API_V3_KEY, KEY])) == "<APIv3 2 keys, 2 platform keys>"
    assert not hasattr(apiv3(), "__dict__")


@pytest.mark.parametrize("action", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_does_not_leave_the_process(action):
    with pytest.raises(TypeError, match="pickled"):
        action(apiv3())


def test_keys_keep_their_order():
    first, second = Key(API_V3_KEY), Key(KEY)
    assert apiv3([second, first]).keys == (second, first)


@pytest.mark.parametrize("keys", ["", "k" * 31, None, [], [API_V3_KEY, ""], API_V3_KEY.encode()])
def test_what_is_no_key_is_refused(keys):
    assert code_of(APIv3, keys, CERTIFICATE) == "configuration"


def test_a_key_of_the_sandbox_is_refused():
    assert code_of(APIv3, Key(API_V3_KEY, sandbox=True), CERTIFICATE) == "configuration"


@pytest.mark.parametrize(
    "platform", [None, [], (), {}, "", 5, [None], apiv3_keys.CERTIFICATE, [CERTIFICATE, SERIAL]]
)
def test_what_is_no_platform_key_is_refused(platform):
    assert code_of(APIv3, API_V3_KEY, platform) == "configuration"


def test_certificates_and_public_keys_stand_side_by_side():
    ring = APIv3(API_V3_KEY, iter([CERTIFICATE, PUBLIC_KEY]))
    assert ring.serials == (SERIAL, PUBLIC_KEY_ID)
    assert ring.platform == (CERTIFICATE, PUBLIC_KEY)


def test_one_key_may_be_given_twice_and_two_of_one_serial_may_not():
    assert APIv3(API_V3_KEY, [CERTIFICATE, CERTIFICATE]).serials == (SERIAL,)
    same = PlatformKey.from_public_key(PUBLIC_KEY_ID, public_pem_of(_rsa(apiv3_keys.CERTIFICATE_PRIVATE_KEY)))
    with pytest.raises(ConfigurationError, match=f"two platform keys have the serial {PUBLIC_KEY_ID}"):
        APIv3(API_V3_KEY, [PUBLIC_KEY, same])


def _rsa(pem):
    return load_pem_private_key(pem.encode(), None)


# --- how it changes -------------------------------------------------------------------


def test_a_key_is_added_beside_the_others():
    ring = APIv3(API_V3_KEY, CERTIFICATE)
    posted = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    assert code_of(opened, posted, merchant(ring)) == "unknown_serial"
    ring.add(PUBLIC_KEY)
    ring.add(PUBLIC_KEY)
    assert ring.serials == (SERIAL, PUBLIC_KEY_ID)
    assert opened(posted, merchant(ring)).serial == PUBLIC_KEY_ID
    assert opened(payment_event(now=NOW), merchant(ring)).serial == SERIAL


def test_all_keys_are_exchanged_in_one_step():
    ring = APIv3(API_V3_KEY, [CERTIFICATE, OTHER])
    ring.replace(PUBLIC_KEY)
    assert ring.serials == (PUBLIC_KEY_ID,)
    ring.replace(iter([CERTIFICATE, OTHER]))
    assert ring.serials == (SERIAL, "PUB_KEY_ID_2")


@pytest.mark.parametrize("platform", [[], (), None, iter(()), [CERTIFICATE, None], [OTHER, "PUB_KEY_ID_3"]])
def test_a_ring_is_never_emptied_and_stays_as_it_was(platform):
    ring = apiv3()
    assert code_of(ring.replace, platform) == "configuration"
    assert ring.serials == (SERIAL, PUBLIC_KEY_ID)


@pytest.mark.parametrize("key", [None, SERIAL, apiv3_keys.CERTIFICATE, [CERTIFICATE]])
def test_what_is_no_platform_key_is_not_added(key):
    ring = apiv3()
    assert code_of(ring.add, key) == "configuration"
    assert ring.serials == (SERIAL, PUBLIC_KEY_ID)


def test_a_key_is_added_under_a_lock_so_that_none_of_two_is_lost(monkeypatch):
    ring, locked, by_serial = APIv3(API_V3_KEY, CERTIFICATE), [], _ring._by_serial

    def spy(platform):
        locked.append(ring._lock.locked())
        return by_serial(platform)

    monkeypatch.setattr(_ring, "_by_serial", spy)
    ring.add(PUBLIC_KEY)
    assert (ring.serials, locked) == ((SERIAL, PUBLIC_KEY_ID), [True])
    assert not ring._lock.locked()
    assert code_of(ring.add, None) == "configuration"
    assert not ring._lock.locked()


def test_deliveries_are_verified_while_the_ring_is_exchanged_under_them():
    ring = APIv3(API_V3_KEY, [CERTIFICATE])
    shop, posted, over = merchant(ring), payment_event(now=NOW), threading.Event()

    def exchange():
        while not over.is_set():
            ring.replace([PUBLIC_KEY, CERTIFICATE])
            ring.replace([CERTIFICATE])

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        assert {opened(posted, shop).serial for _ in range(300)} == {SERIAL}
    finally:
        over.set()
        thread.join()


# --- a serial nobody knows ------------------------------------------------------------


def test_the_function_is_told_an_unknown_serial_after_it_was_refused():
    told = []
    shop = merchant(apiv3(on_unknown_serial=told.append))
    assert code_of(opened, UNKNOWN, shop) == "unknown_serial"
    assert told == ["5157F09EFDC096DE15EBE81A47057A7232F1B8E1"]


def test_it_is_told_too_where_another_merchants_ring_knows_the_serial_and_no_key_decrypts():
    told = {"1900000110": [], "1900000111": []}
    knows = Merchant(
        "1900000110", "wx1", apiv3=apiv3(OTHER_V3_KEY, on_unknown_serial=told["1900000110"].append)
    )
    lacks = APIv3(API_V3_KEY, CERTIFICATE, on_unknown_serial=told["1900000111"].append)
    moved = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    with pytest.raises(BadCiphertext, match=f"1900000111, whose ring lacks platform key {PUBLIC_KEY_ID}"):
        APIv3.open([knows, Merchant("1900000111", "wx1", apiv3=lacks)], moved.body, moved.headers, NOW)
    assert told == {"1900000110": [], "1900000111": [PUBLIC_KEY_ID]}


def test_headers_that_can_be_read_once_are_enough():
    told = []
    shop = merchant(apiv3(on_unknown_serial=told.append))
    refusal = either(APIv3.open, [shop], UNKNOWN.body, iter(UNKNOWN.headers.items()), NOW)
    assert (refusal.code, len(told)) == ("unknown_serial", 1)


def test_of_many_merchants_whose_ring_lacks_the_serial_three_are_named():
    knows = Merchant("1900000000", "wx1", apiv3=apiv3(OTHER_V3_KEY))
    lacking = [Merchant(f"19{n:08}", "wx1", apiv3=APIv3(API_V3_KEY, CERTIFICATE)) for n in range(1, 51)]
    moved = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    refusal = either(APIv3.open, [knows, *lacking], moved.body, moved.headers, NOW)
    assert "for 1900000001, 1900000002, 1900000003 and 47 more, whose ring lacks" in str(refusal)


def test_it_is_not_told_of_what_no_platform_key_would_mend():
    told = []
    knows = Merchant("1900000110", "wx1", apiv3=apiv3(OTHER_V3_KEY))
    lacks = Merchant("1900000111", "wx1", apiv3=APIv3(API_V3_KEY, CERTIFICATE, on_unknown_serial=told.append))
    odd = resealed(payment_event(now=NOW), ciphertext="no base64 *")
    moved = signed(odd.body, now=NOW, serial=PUBLIC_KEY_ID)
    refusal = either(APIv3.open, [knows, lacks], moved.body, moved.headers, NOW)
    assert (refusal.code, told) == ("bad_ciphertext", [])


def test_it_is_not_told_of_what_no_key_decrypts_where_every_ring_knows_the_serial():
    told = []
    shop = merchant(apiv3(OTHER_V3_KEY, on_unknown_serial=told.append))
    refusal = either(opened, payment_event(now=NOW), shop)
    assert (refusal.code, "lacks" in str(refusal), told) == ("bad_ciphertext", False, [])


def test_whatever_serials_are_invented_it_is_told_once_a_minute():
    told = []
    shop = merchant(apiv3(on_unknown_serial=told.append))

    def unknown(serial, now):
        assert code_of(opened, with_headers(UNKNOWN, Serial=serial), shop, now=now) == "unknown_serial"

    for n in range(100):
        unknown(f"{n:X}A", NOW + n / 10)
    unknown("B1", NOW + 59.9)
    assert told == ["0A"]
    unknown("B2", NOW + 60)
    unknown("B3", NOW + 61)
    assert told == ["0A", "B2"]


def test_a_clock_that_was_set_back_does_not_silence_it():
    told = []
    shop = merchant(apiv3(on_unknown_serial=told.append))
    for now, times in ((NOW, 1), (NOW - 30, 1), (NOW - 3_600, 2)):
        assert code_of(opened, UNKNOWN, shop, now=now) == "unknown_serial"
        assert len(told) == times


def test_it_may_add_the_key_and_the_resend_is_verified():
    ring = APIv3(API_V3_KEY, CERTIFICATE, on_unknown_serial=lambda serial: ring.add(PUBLIC_KEY))
    posted = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    assert code_of(opened, posted, merchant(ring)) == "unknown_serial"
    assert opened(posted, merchant(ring))["out_trade_no"] == "A-1001"


def test_what_it_raises_is_logged_and_changes_nothing(caplog):
    def broken(serial):
        raise RuntimeError("no network")

    ring = apiv3(on_unknown_serial=broken)
    with caplog.at_level(logging.ERROR, "wxnotify"):
        refused = either(opened, UNKNOWN, merchant(ring))
    assert refused.code == "unknown_serial"
    assert (refused.__context__, refused.__cause__) == (None, None)
    (record,) = caplog.records
    assert record.name == "wxnotify"
    assert "on_unknown_serial raised" in record.getMessage()
    assert "no network" in record.exc_text
    assert ring.serials == (SERIAL, PUBLIC_KEY_ID)


def test_not_even_a_log_that_is_broken_changes_anything(monkeypatch):
    def broken(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(logging.getLogger("wxnotify"), "exception", broken)
    assert code_of(opened, UNKNOWN, merchant(apiv3(on_unknown_serial=broken))) == "unknown_serial"


def test_it_is_not_told_of_a_serial_that_is_known_or_of_what_is_refused_before():
    told = []
    shop = merchant(apiv3(on_unknown_serial=told.append))
    opened(payment_event(now=NOW), shop)
    probe = with_headers(UNKNOWN, Signature="WECHATPAY/SIGNTEST/x")
    for refused in (probe, with_headers(UNKNOWN, Nonce=None), with_headers(UNKNOWN, Serial="../x")):
        assert isinstance(either(opened, refused, shop), NotifyError)
    forged = with_headers(payment_event(now=NOW), Signature="AAAA")
    assert code_of(opened, forged, shop) == "bad_signature"
    assert told == []


def test_every_merchant_s_function_is_told_if_no_ring_knows_the_serial():
    told = []
    first = merchant(apiv3(on_unknown_serial=lambda serial: told.append("first")), "1")
    second = merchant(apiv3(on_unknown_serial=lambda serial: told.append("second")), "2")
    assert code_of(opened, UNKNOWN, first, second) == "unknown_serial"
    assert told == ["first", "second"]


def test_a_coroutine_function_is_refused_because_nobody_would_await_it():
    async def fetch(serial):
        """Never called."""

    with pytest.raises(ConfigurationError, match="not awaited"):
        apiv3(on_unknown_serial=fetch)


# --- serials with zeros in front ------------------------------------------------------


def test_a_serial_number_may_come_with_or_without_zeros_in_front():
    private = apiv3_keys.CERTIFICATE_PRIVATE_KEY
    ring = APIv3(API_V3_KEY, PlatformKey.from_certificate(certificate_pem_of(_rsa(private), serial=0x0ABC)))
    assert ring.serials == ("0ABC",)
    posted = payment_event(now=NOW)
    for serial in ("0ABC", "ABC", "00ABC"):
        assert opened(with_headers(posted, Serial=serial), merchant(ring)).serial == "0ABC"
    for serial in ("ABC0", "000", "0abc"):
        assert code_of(opened, with_headers(posted, Serial=serial), merchant(ring)) == "unknown_serial"
