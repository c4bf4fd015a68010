"""Native mode 1: what a scan is, and the signed answer to one."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest

from wxnotify import Scan, ScanRefusal, build_scan_reply, parse, verify
from wxnotify._keys import Key
from wxnotify._scans import reply_from_result, scan_result
from wxnotify.testing import APPID, KEY, MCH_ID, scan

from .kinds import OPENID, SUB_MCH_ID, told, verified
from .support import code_of, reference_sign

PREPAY_ID = "wx201410272009395522657a690389285100"
OTHER_KEY = "another-test-key-0123456789abcde"
NAMES = ("appid", "mch_id", "openid", "is_subscribe", "nonce_str", "product_id")


def scanned(**changes: str | None) -> Scan:
    return Scan.from_verified(verified(scan(**changes)))


def answered(*arguments: object, **options: object) -> dict[str, str]:
    """Build the answer, and read it as WeChat Pay does."""
    reply = build_scan_reply(scanned(), KEY, *arguments, **options)
    assert reply.status == 200
    return dict(verify(parse(reply.body), KEY))


# --- the scan -------------------------------------------------------------------------


def test_a_scan_is_read():
    one = told(scan())
    assert isinstance(one, Scan)
    assert (one.appid, one.mch_id, one.openid) == (APPID, MCH_ID, OPENID)
    assert (one.product_id, one.is_subscribe, one.result) == ("P-1001", "N", "")
    assert one.nonce_str == "5K8264ILTKCH16CQ2502SI8ZNMTM67VS"
    assert (one.sub_mch_id, scanned(sub_mch_id=SUB_MCH_ID).sub_mch_id) == ("", SUB_MCH_ID)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, ""])
def test_a_scan_without_a_field_every_one_has_is_refused(name, value):
    assert code_of(scanned, **{name: value}) == "missing_field"


@pytest.mark.parametrize(
    "name", ["time_stamp", "out_trade_no", "prepay_id", "trade_type", "result_code", "return_code"]
)
def test_a_message_with_a_field_that_no_scan_has_is_none(name):
    assert code_of(scanned, **{name: "SUCCESS"}) == "bad_field"


@pytest.mark.parametrize("name", ["openid", "product_id", "nonce_str", "mch_id"])
def test_another_payer_product_or_code_is_another_scan(name):
    assert scanned(**{name: "1900000110"}).key != scanned().key


def test_the_same_scan_told_again_is_the_same():
    assert scanned(is_subscribe="Y", a_field_of_next_year="1") == scanned()


@pytest.mark.parametrize("odd", ["19/0", "19:0", "１９", "x" * 33])
def test_the_merchant_of_a_scan_has_the_characters_wechat_pay_uses(odd):
    assert code_of(scanned, mch_id=odd) == "bad_field"


def test_the_key_of_a_scan_is_a_digest_of_payer_product_and_nonce():
    # Stored in databases: another release must find the same.
    text = f"{len(OPENID)}:{OPENID}6:P-100132:5K8264ILTKCH16CQ2502SI8ZNMTM67VS"
    assert scanned().key == f"scan/{MCH_ID}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    assert scanned().fingerprint == hashlib.sha256(text.encode()).digest()


def test_its_repr_names_product_and_merchant():
    assert repr(scanned()) == f"<Scan product_id=P-1001 mch_id={MCH_ID}>"


def test_a_product_of_any_text_fits_a_key():
    assert len(scanned(product_id="学/: \n" * 100).key) == len(scanned().key)


# --- what the handler returned --------------------------------------------------------


def test_a_prepay_id_is_kept_as_it_is():
    assert scan_result(PREPAY_ID) == PREPAY_ID


def test_a_refusal_is_kept_apart_from_any_prepay_id():
    assert scan_result(ScanRefusal("已售罄")) == "FAIL:已售罄"
    with pytest.raises(ValueError, match="begin"):
        scan_result("FAIL:已售罄")


@pytest.mark.parametrize("returned", [None, 0, True, b"wx1", ["wx1"], {"prepay_id": "wx1"}, object()])
def test_anything_else_is_a_mistake_of_the_handler(returned):
    with pytest.raises(TypeError, match=type(returned).__name__):
        scan_result(returned)


@pytest.mark.parametrize("odd", ["", "a\nb", "a\0", "\u202e", "x" * 65])
def test_a_prepay_id_is_short_and_prints(odd):
    with pytest.raises(ValueError, match="does not print"):
        scan_result(odd)


@pytest.mark.parametrize("odd", ["", "a\nb", "\x07", "x" * 129])
def test_a_refusal_is_short_and_prints(odd):
    with pytest.raises(ValueError, match="does not print"):
        scan_result(ScanRefusal(odd))
    assert scan_result(ScanRefusal("x" * 128)) == "FAIL:" + "x" * 128


def test_what_is_kept_fits_a_store():
    assert len(scan_result(ScanRefusal("x" * 128))) <= 256


def test_a_refusal_is_text_that_says_what_it_is():
    refusal = ScanRefusal("已售罄")
    assert (refusal, repr(refusal)) == ("已售罄", "ScanRefusal('已售罄')")
    for copied in (copy.copy(refusal), copy.deepcopy(refusal), pickle.loads(pickle.dumps(refusal))):
        assert (type(copied), copied) == (ScanRefusal, "已售罄")


# --- the answer -----------------------------------------------------------------------


def test_the_answer_carries_the_prepay_id_and_is_signed():
    fields = answered(PREPAY_ID, nonce_str="n")
    assert fields == {
        "return_code": "SUCCESS", "result_code": "SUCCESS", "appid": APPID, "mch_id": MCH_ID,
        "nonce_str": "n", "prepay_id": PREPAY_ID,
    }  # fmt: skip


def test_the_signature_is_that_of_the_rule_written_out():
    fields = parse(build_scan_reply(scanned(), KEY, PREPAY_ID).body)
    assert fields["sign"] == reference_sign(fields, KEY)


def test_a_refusal_is_a_signed_success_that_failed():
    fields = answered(ScanRefusal("已售罄 <b>&"), nonce_str="n")
    assert (fields["return_code"], fields["result_code"]) == ("SUCCESS", "FAIL")
    assert fields["err_code_des"] == "已售罄 <b>&"
    assert "prepay_id" not in fields


def test_every_answer_has_a_nonce_of_its_own():
    nonces = {answered(PREPAY_ID)["nonce_str"] for _ in range(20)}
    assert len(nonces) == 20
    assert all(len(nonce) == 32 for nonce in nonces)


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
def test_it_is_signed_as_the_scan_was(sign_type):
    reply = build_scan_reply(Scan.from_verified(verified(scan(sign_type=sign_type))), KEY, PREPAY_ID)
    answer = verify(parse(reply.body), KEY)
    assert answer.sign_type == sign_type
    assert "sign_type" not in answer


def test_it_names_its_algorithm_if_the_scan_did():
    fields = parse(scan())
    del fields["sign"]
    fields["sign_type"] = "MD5"
    declared = Scan.from_verified(verify({**fields, "sign": reference_sign(fields)}, KEY))
    assert parse(build_scan_reply(declared, KEY, PREPAY_ID).body)["sign_type"] == "MD5"
    hmac = parse(build_scan_reply(declared, KEY, PREPAY_ID, sign_type="HMAC-SHA256").body)
    assert (hmac["sign_type"], len(hmac["sign"])) == ("HMAC-SHA256", 64)
    assert verify(hmac, KEY)["prepay_id"] == PREPAY_ID


def test_of_several_keys_it_is_signed_with_the_one_the_scan_was():
    keys = (Key(OTHER_KEY), Key(KEY))
    one = Scan.from_verified(verify(parse(scan()), keys))
    reply = reply_from_result(one, keys, PREPAY_ID)
    assert verify(parse(reply.body), KEY)["prepay_id"] == PREPAY_ID
    assert code_of(verify, parse(reply.body), OTHER_KEY) == "bad_signature"


@pytest.mark.parametrize("answer", [None, 5, b"wx1"])
def test_an_answer_that_is_none_is_refused(answer):
    with pytest.raises(TypeError):
        build_scan_reply(scanned(), KEY, answer)


@pytest.mark.parametrize("key", ["", "short", None])
def test_a_key_that_is_none_is_refused(key):
    assert code_of(build_scan_reply, scanned(), key, PREPAY_ID) == "configuration"


def test_the_reply_is_xml_and_announces_its_length():
    reply = build_scan_reply(scanned(), KEY, PREPAY_ID)
    assert dict(reply.headers) == {
        "Content-Type": "text/xml; charset=utf-8",
        "Content-Length": str(len(reply.body)),
    }
