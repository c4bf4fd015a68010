from __future__ import annotations

import traceback

import pytest

from wxnotify import Contract, Expected, Key, Merchant, verify
from wxnotify._merchants import Ring
from wxnotify.errors import ConfigurationError, MerchantMismatch, NotifyError, UnknownMerchant
from wxnotify.testing import APPID, KEY, MCH_ID, payment

from .support import code_of, signed
from .test_no_secrets import leaked, words_of_refusal

OTHER = "1900000110"


def shop(mch_id: str = MCH_ID, **settings: object) -> Merchant:
    return Merchant(mch_id, settings.pop("appid", APPID), settings.pop("keys", KEY), **settings)


# --- what is configured --------------------------------------------------------


def test_a_merchant_has_one_app_or_several():
    assert shop().appids == (APPID,)
    assert shop(appid=[APPID, "wx2"]).appids == (APPID, "wx2")


def test_a_merchant_has_one_key_or_several_in_their_order():
    key = Key(KEY)
    assert shop(keys=key).keys == (key,)
    assert shop(keys=[Key(KEY[::-1]), key]).keys[1] is key


def test_a_merchant_without_sub_merchants_has_none_and_takes_both_algorithms():
    assert shop().sub_mch_ids == ()
    assert shop().sign_types == ("MD5", "HMAC-SHA256")


def test_sub_merchants_come_as_one_or_several():
    assert shop(sub_mch_ids=OTHER).sub_mch_ids == (OTHER,)
    assert shop(sub_mch_ids=[OTHER, "1900000111"]).sub_mch_ids == (OTHER, "1900000111")


@pytest.mark.parametrize(
    "settings",
    [
        {"mch_id": ""},
        {"mch_id": " "},
        {"mch_id": MCH_ID + "\n"},
        {"mch_id": None},
        {"mch_id": 1900000109},
        {"mch_id": MCH_ID.encode()},
        {"mch_id": [MCH_ID, OTHER]},
        {"appid": ""},
        {"appid": []},
        {"appid": ["wx1", ""]},
        {"appid": ["wx1", None]},
        {"appid": " wx1"},
        {"appid": None},
        {"appid": 5},
        {"appid": b"wx1"},
        {"sub_mch_ids": ["1", ""]},
        {"sub_mch_ids": 5},
        {"combined_mch_ids": ["1", ""]},
        {"combined_mch_ids": 5},
        {"keys": ""},
        {"keys": None},
        {"keys": []},
        {"keys": "too short"},
        {"keys": [KEY, ""]},
        {"keys": KEY.encode()},
        {"sign_types": ()},
        {"sign_types": ["md5"]},
        {"sign_types": ["MD5", "RSA"]},
        {"sign_types": "MD5"},
    ],
    ids=str,
)
def test_a_merchant_that_cannot_work_is_refused_when_it_is_made(settings):
    assert code_of(lambda: shop(**settings)) == "configuration"


def test_the_repr_names_the_merchant_and_counts_its_keys():
    assert repr(shop()) == f"<Merchant {MCH_ID}, 1 key>"
    assert repr(shop(keys=[KEY, KEY[::-1]])) == f"<Merchant {MCH_ID}, 2 keys>"


@pytest.mark.parametrize(
    "settings", [{"keys": ""}, {"mch_id": ""}, {"appid": ""}, {"sign_types": ()}], ids=str
)
def test_the_traceback_of_a_merchant_that_could_not_be_made_can_be_shown_with_its_locals(settings):
    with pytest.raises(ConfigurationError) as refusal:
        shop(**settings)
    shown = "".join(traceback.TracebackException.from_exception(refusal.value, capture_locals=True).format())
    assert "<Merchant" in shown


def test_the_text_of_a_key_in_the_place_of_apiv3_is_refused_and_shown_to_nobody():
    with pytest.raises(ConfigurationError, match=r"apiv3 is wxnotify.apiv3.APIv3\(...\), not str") as refusal:
        Merchant(MCH_ID, APPID, KEY, apiv3=KEY[::-1])
    words = "\n".join(words_of_refusal(refusal.value))
    assert not leaked(KEY, words)
    assert not leaked(KEY[::-1], words)


# --- whose payment it is -------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {}),
        ({"appid": "wx2"}, {"appid": [APPID, "wx2"]}),
        ({"sub_mch_id": OTHER}, {"sub_mch_ids": [OTHER]}),
        # Which sub-merchants there are may be known only to the orders.
        ({"sub_mch_id": OTHER}, {}),
    ],
    ids=str,
)
def test_a_payment_for_this_merchant_passes_before_its_order_is_known(changes, settings):
    assert shop(**settings).check(payment(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"mch_id": OTHER}, {}),
        ({"appid": "wx2"}, {}),
        ({"sub_mch_id": "1900000111"}, {"sub_mch_ids": [OTHER]}),
    ],
    ids=str,
)
def test_a_payment_for_another_merchant_is_refused_before_its_order_is_known(changes, settings):
    assert code_of(shop(**settings).check, payment(**changes)) == "merchant_mismatch"


def test_what_a_notification_does_not_name_is_left_to_those_who_need_it():
    fields = {
        "return_code": "SUCCESS", "result_code": "SUCCESS", "mch_id": MCH_ID, "contract_code": "C-1",
        "plan_id": "1", "openid": "o", "change_type": "ADD", "operate_time": "2026-11-23 12:00:00",
        "contract_id": "2",
    }  # fmt: skip
    contract = Contract.from_verified(verify(signed(fields), KEY))  # it has no appid
    assert shop(sub_mch_ids=[OTHER]).check(contract) is None


def test_a_foreign_notification_is_refused_by_the_field_that_differs():
    with pytest.raises(MerchantMismatch) as refusal:
        shop().check(payment(mch_id=OTHER))
    assert (refusal.value.out_trade_no, refusal.value.field) == ("A-1001", "mch_id")
    assert refusal.value.received == OTHER


@pytest.mark.parametrize(
    ("changes", "settings", "order"),
    [
        ({}, {}, None),
        ({}, {}, Expected(100)),
        ({}, {}, Expected(100, mch_id=MCH_ID, appid=APPID)),
        ({"appid": "wx2"}, {"appid": [APPID, "wx2"]}, Expected(100, appid="wx2")),
        ({"sub_mch_id": OTHER}, {"sub_mch_ids": [OTHER]}, None),
        ({"sub_mch_id": OTHER}, {}, Expected(100, sub_mch_id=OTHER)),
        ({"sub_mch_id": OTHER, "sub_appid": "wx9"}, {}, Expected(100, sub_mch_id=OTHER, sub_appid="wx9")),
    ],
    ids=str,
)
def test_a_payment_that_went_where_the_order_says_passes(changes, settings, order):
    assert shop(**settings).check_order(payment(**changes), order) is None


@pytest.mark.parametrize(
    ("changes", "settings", "order"),
    [
        ({}, {}, Expected(100, mch_id=OTHER)),
        ({}, {"appid": [APPID, "wx2"]}, Expected(100, appid="wx2")),
        # A's order handled as B's.
        (
            {"sub_mch_id": OTHER},
            {"sub_mch_ids": [OTHER, "1900000111"]},
            Expected(100, sub_mch_id="1900000111"),
        ),
        # Neither the order nor the configuration knows of a sub-merchant.
        ({"sub_mch_id": OTHER}, {}, None),
        ({"sub_mch_id": OTHER}, {}, Expected(100)),
        ({}, {}, Expected(100, sub_mch_id=OTHER)),
        ({}, {"sub_mch_ids": [OTHER]}, None),
        ({"sub_mch_id": OTHER}, {"sub_mch_ids": [OTHER]}, Expected(100, sub_appid="wx9")),
    ],
    ids=str,
)
def test_a_payment_that_went_elsewhere_than_the_order_says_is_refused(changes, settings, order):
    assert code_of(shop(**settings).check_order, payment(**changes), order) == "merchant_mismatch"


# --- the ring ------------------------------------------------------------------


def test_the_ring_finds_the_merchant_that_is_named():
    first, second = shop(), shop(OTHER)
    assert Ring([first, second]).find(OTHER) is second
    assert Ring(first).find(MCH_ID) is first


@pytest.mark.parametrize("mch_id", ["", OTHER, MCH_ID + " ", APPID])
def test_there_is_no_merchant_to_fall_back_to(mch_id):
    with pytest.raises(UnknownMerchant) as refusal:
        Ring(shop()).find(mch_id)
    assert refusal.value.code == "unknown_merchant"


def test_a_foreign_mch_id_is_shown_quoted_and_cut():
    with pytest.raises(UnknownMerchant) as refusal:
        Ring(shop()).find("\n" * 5_000)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


def test_a_ring_of_no_merchants_or_of_one_twice_is_refused():
    assert code_of(Ring, []) == "configuration"
    assert code_of(Ring, [shop(), shop()]) == "configuration"


def test_two_rings_share_nothing():
    one, two = Ring(shop()), Ring(shop(OTHER))
    for ring, mch_id in ((one, OTHER), (two, MCH_ID)):
        with pytest.raises(NotifyError):
            ring.find(mch_id)


def test_an_appid_in_the_place_of_the_merchant_id_is_refused():
    assert code_of(Merchant, APPID, MCH_ID, KEY) == "configuration"
