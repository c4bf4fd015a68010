"""APIv2's refunds, through the cipher: what opens, what does not, and what it proves."""

from __future__ import annotations

import base64

import pytest

from wxnotify import Decrypted, Key, Payment, Refund, Verified, decrypt, parse, write
from wxnotify._ciphers import aes_256_ecb_decrypt, aes_256_ecb_encrypt
from wxnotify.errors import NotifyError
from wxnotify.testing import APPID, KEY, MCH_ID, refund_notification

from ..support import code_of, either

OTHER_KEY = "another-test-key-0123456789abcde"
REFUNDED = parse(refund_notification())


def read(body: bytes, key: object = KEY) -> Refund:
    return Refund.from_decrypted(decrypt(parse(body), key, mch_id=MCH_ID))  # type: ignore[arg-type]


def sealed(plaintext: bytes, key: str = KEY) -> str:
    return base64.b64encode(aes_256_ecb_encrypt(Key(key), plaintext)).decode()


def around(req_info: str) -> dict[str, str]:
    return {**REFUNDED, "req_info": req_info}


def blocks(body: bytes) -> list[bytes]:
    ciphertext = base64.b64decode(parse(body)["req_info"])
    return [ciphertext[at : at + 16] for at in range(0, len(ciphertext), 16)]


# --- what opens -----------------------------------------------------------------------


def test_a_refund_opens_under_its_merchant_s_key():
    refund = read(refund_notification(refund_fee="40"))
    assert (refund.refund_fee, refund.total_fee, refund.result) == (40, 100, "SUCCESS")
    assert (refund.mch_id, refund.fields.key_index, refund.fields.sandbox) == (MCH_ID, 0, False)
    assert refund.fields.unauthenticated == {
        "return_code": "SUCCESS",
        "appid": APPID,
        "mch_id": MCH_ID,
        "nonce_str": REFUNDED["nonce_str"],
    }


def test_of_several_keys_it_says_which_one_opened_it():
    assert read(refund_notification(), [OTHER_KEY, KEY]).fields.key_index == 1
    assert read(refund_notification(key=OTHER_KEY), [OTHER_KEY, KEY]).fields.key_index == 0


@pytest.mark.parametrize("return_code", ["SUCCESS", None])
def test_a_return_code_that_is_absent_is_none_that_fails(return_code):
    assert read(refund_notification(outside={"return_code": return_code}))


def test_a_sandbox_s_key_opens_it_only_where_that_is_allowed():
    keys = [KEY, Key(OTHER_KEY, sandbox=True)]
    fields = parse(refund_notification(key=OTHER_KEY))
    assert code_of(decrypt, fields, keys) == "sandbox_key"
    opened = decrypt(fields, keys, allow_sandbox=True)
    assert (opened.sandbox, opened.key_index) == (True, 1)
    assert decrypt(REFUNDED, keys).sandbox is False


def test_who_is_not_told_whose_key_it_is_names_no_merchant():
    assert decrypt(REFUNDED, KEY).mch_id == ""
    assert decrypt(REFUNDED, KEY, mch_id="7").mch_id == "7"


def test_empty_fields_inside_are_absent_ones():
    assert "success_time" not in read(refund_notification(success_time="")).fields
    assert code_of(read, refund_notification(refund_id="")) == "missing_field"


# --- what does not --------------------------------------------------------------------

FAULTS = {
    "another key": sealed(b"<root></root>", OTHER_KEY),
    "no base64": "*",
    "base64 with a line feed": REFUNDED["req_info"][:64] + "\n" + REFUNDED["req_info"][64:],
    "base64 with a blank behind it": REFUNDED["req_info"] + " ",
    "base64 for addresses": "-_" * 32,
    "nothing in base64": "====",
    "no whole block": base64.b64encode(b"x" * 31).decode(),
    "the last block cut off": base64.b64encode(b"".join(blocks(refund_notification())[:-1])).decode(),
    "noise": base64.b64encode(b"x" * 160).decode(),
    "no document": sealed(b"refund_fee=100"),
    "an empty document": sealed(b""),
    "the root of another document": sealed(b"<xml><refund_fee>100</refund_fee></xml>"),
    "a root of its own": sealed(b"<foo><bar>123</bar></foo>"),
    "a DTD": sealed(b'<!DOCTYPE root [<!ENTITY x SYSTEM "file:///etc/passwd">]><root>&x;</root>'),
    "a name twice": sealed(b"<root><refund_fee>1</refund_fee><refund_fee>100</refund_fee></root>"),
    "an element inside": sealed(b"<root><a><refund_fee>1</refund_fee></a></root>"),
    "a comment": sealed(b"<root><refund_fee>1<!-- -->00</refund_fee></root>"),
    "another encoding": sealed("<root><a>支付</a></root>".encode("gbk")),
    "a document cut short": sealed(b"<root><refund_fee>100</refund_fee>"),
    "something behind it": sealed(b"<root></root>x"),
}


@pytest.mark.parametrize("req_info", FAULTS.values(), ids=FAULTS)
def test_whatever_is_wrong_inside_is_refused_in_the_same_words(req_info):
    refused = either(decrypt, around(req_info), KEY)
    assert isinstance(refused, NotifyError)
    assert str(refused) == "req_info does not decrypt to a document (1 key tried)"
    assert refused.code == "bad_ciphertext"
    assert refused.__context__ is None


def test_the_refusal_says_how_many_keys_were_tried():
    assert "(2 keys tried)" in str(either(decrypt, around(FAULTS["noise"]), [KEY, OTHER_KEY]))


def test_a_document_without_fields_is_no_refund():
    assert code_of(lambda: Refund.from_decrypted(decrypt(around(sealed(b"<root/>")), KEY))) == "missing_field"


def test_every_byte_of_the_padding_is_checked():
    plaintext = b"<root><a>1234567</a></root>"
    for surplus in (b"\0" * 5, b"\x04\x05\x05\x05\x05", b"\x01\x01\x01\x01\x06", b"\x11" * 5):
        padded = plaintext + surplus
        assert len(padded) % 16 == 0
        # Under its own padding what comes out is the padded text; cut that padding off.
        whole = aes_256_ecb_encrypt(Key(KEY), padded)[: len(padded)]
        assert code_of(decrypt, around(base64.b64encode(whole).decode()), KEY) == "bad_ciphertext"
    good = aes_256_ecb_encrypt(Key(KEY), plaintext)
    assert aes_256_ecb_decrypt(Key(KEY), good) == plaintext


# --- what it proves -------------------------------------------------------------------

OUTSIDE = {
    "out_trade_no": "B-1", "transaction_id": "7", "refund_id": "8", "out_refund_no": "R-9", "refund_fee": "1",
    "total_fee": "1", "refund_status": "REFUNDCLOSE", "result_code": "SUCCESS", "success_time": "x",
}  # fmt: skip


def test_nothing_outside_of_the_ciphertext_changes_anything():
    forged = read(refund_notification(outside=OUTSIDE))
    assert forged == read(refund_notification())
    assert dict(forged.fields) == dict(read(refund_notification()).fields)
    for name in ("out_trade_no", "refund_fee", "total_fee", "refund_status", "result", "success_time"):
        assert getattr(forged, name) == getattr(read(refund_notification()), name)
    assert forged.fields.unauthenticated["refund_fee"] == "1"


def test_the_merchant_is_the_one_whose_key_opened_it_whoever_is_named_outside():
    assert read(refund_notification(outside={"mch_id": "1900000999", "appid": "wx9"})).mch_id == MCH_ID


# D42: a refund has no signature, and its blocks can be put together anew; nobody warns.
def test_d42_blocks_of_two_refunds_put_together_are_decrypted_and_never_verified():
    # An attacker who has two refunds of a merchant, of 1.00 and of 9.99 out of 100.00, makes a third.
    absent = ("settlement_total_fee", "settlement_refund_fee", "refund_recv_accout", "success_time")
    fixed = dict.fromkeys(absent)
    small = blocks(refund_notification(total_fee="10000", refund_fee="100", **fixed))
    large = blocks(refund_notification(total_fee="10000", refund_fee="999", out_refund_no="R-1002", **fixed))
    differing = [at for at, (one, other) in enumerate(zip(small, large, strict=True)) if one != other]
    assert len(differing) >= 2, "order number and amount stand in blocks of their own"
    forged = [*small]
    forged[differing[-1]] = large[differing[-1]]
    opened = decrypt(around(base64.b64encode(b"".join(forged)).decode()), KEY, mch_id=MCH_ID)
    refund = Refund.from_decrypted(opened)
    assert (refund.out_refund_no, refund.refund_fee) == ("R-1001", 999)
    # So it is never called verified, and is no payment; what it says is for the handler to compare.
    assert not isinstance(opened, Verified)
    with pytest.raises(TypeError):
        Payment.from_verified(opened)
    # And to the store it is another refund than the genuine one of the same id.
    genuine = read(refund_notification(total_fee="10000", refund_fee="100", **fixed))
    assert (refund.key, refund == genuine) == (genuine.key, False)


def test_d42_in_whatever_order_its_blocks_come_they_are_decrypted_or_refused_and_never_more():
    whole = blocks(refund_notification())
    for at in range(len(whole) - 1):
        for forged in (
            whole[:at] + whole[at + 1 :],
            whole[: at + 1] + whole[at:],
            [*whole[:at], whole[at + 1], whole[at], *whole[at + 2 :]],
        ):
            body = write(around(base64.b64encode(b"".join(forged)).decode()))
            result = either(read, body)
            if isinstance(result, NotifyError):
                assert result.code in ("bad_ciphertext", "missing_field", "bad_field")
            else:
                assert type(result.fields) is Decrypted
