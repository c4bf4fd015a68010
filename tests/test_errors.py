from __future__ import annotations

import copy
import pickle

import pytest

from wxnotify import errors
from wxnotify.errors import NotifyError, shown

from .support import code_of

# Neither changes once released: monitors, replies and other programs compare them.
CODES = {
    "AmbiguousSignature": ("ambiguous_signature", 401),
    "AmountMismatch": ("amount_mismatch", 422),
    "AttributeForbidden": ("attribute_forbidden", 400),
    "BadBill": ("bad_bill", 422),
    "BadCiphertext": ("bad_ciphertext", 401),
    "BadEncoding": ("bad_encoding", 400),
    "BadField": ("bad_field", 422),
    "BadFieldName": ("bad_field_name", 400),
    "BadHeader": ("bad_header", 401),
    "BadJSON": ("bad_json", 400),
    "BadSignType": ("bad_sign_type", 401),
    "BadSignature": ("bad_signature", 401),
    "BodyTimeout": ("body_timeout", 408),
    "ClaimLost": ("claim_lost", 503),
    "CommentForbidden": ("comment_forbidden", 400),
    "ConfigurationError": ("configuration", 500),
    "ContentEncodingForbidden": ("content_encoding_forbidden", 415),
    "DtdForbidden": ("dtd_forbidden", 400),
    "DuplicateField": ("duplicate_field", 400),
    "EmptyBody": ("empty_body", 400),
    "ExpectationFailed": ("expectation_failed", 500),
    "ExtraMissing": ("extra_missing", 501),
    "IncompleteBody": ("incomplete_body", 400),
    "InstructionForbidden": ("instruction_forbidden", 400),
    "Malformed": ("malformed", 400),
    "MalformedSignature": ("malformed_signature", 401),
    "MerchantMismatch": ("merchant_mismatch", 403),
    "MethodNotAllowed": ("method_not_allowed", 405),
    "MissingField": ("missing_field", 422),
    "MissingSignature": ("missing_signature", 401),
    "NestedElement": ("nested_element", 400),
    "NoHandler": ("no_handler", 500),
    "NotifyError": ("notify_error", 400),
    "QueryFailed": ("query_failed", 502),
    "ReturnCodeFail": ("return_code_fail", 422),
    "SandboxKey": ("sandbox_key", 403),
    "SignatureProbe": ("signature_probe", 401),
    "StaleTimestamp": ("stale_timestamp", 401),
    "StoreError": ("store_error", 503),
    "StoreUnavailable": ("store_unavailable", 503),
    "NotSettled": ("not_settled", 503),
    "UnknownWork": ("unknown_work", 404),
    "TooLarge": ("too_large", 413),
    "TooManyFields": ("too_many_fields", 400),
    "TransactionMismatch": ("transaction_mismatch", 409),
    "UnknownMerchant": ("unknown_merchant", 403),
    "UnknownOrder": ("unknown_order", 503),
    "UnknownSerial": ("unknown_serial", 401),
    "UntrustedError": ("untrusted", 401),
}

ARGUMENTS = {
    "MerchantMismatch": ("A-1001", "mch_id", "1900000110", ("1900000109", "1900000111")),
    "AmountMismatch": ("A-1001", 1, "CNY", 100, "CNY"),
    "QueryFailed": ("ORDERNOTEXIST", "no such order"),
    "UnknownSerial": ("5157F09EFDC096DE15EBE81A47057A7232F1B8E1",),
    "BadBill": ("the totals disagree", 4, "总金额"),
}


def made(name: str) -> NotifyError:
    error: NotifyError = getattr(errors, name)(*ARGUMENTS.get(name, ("total_fee is absent",)))
    return error


def test_the_table_of_released_codes_names_every_class():
    assert set(errors.__all__) == set(CODES)


@pytest.mark.parametrize("name", CODES)
def test_a_class_keeps_its_code_and_status(name):
    assert (getattr(errors, name).code, getattr(errors, name).status) == CODES[name]


@pytest.mark.parametrize("name", CODES)
def test_every_error_is_a_notify_error(name):
    with pytest.raises(NotifyError):
        raise made(name)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_pickles_with_its_text_and_attributes(name, protocol):
    error = made(name)
    back = pickle.loads(pickle.dumps(error, protocol))
    assert (type(back), str(back), vars(back), back.args) == (
        type(error),
        str(error),
        vars(error),
        error.args,
    )


@pytest.mark.parametrize("name", CODES)
def test_an_error_copies(name):
    error = made(name)
    assert (str(copy.copy(error)), vars(copy.deepcopy(error))) == (str(error), vars(error))


@pytest.mark.parametrize("name", sorted(set(CODES) - set(ARGUMENTS)))
def test_an_error_without_detail_says_its_code(name):
    error = getattr(errors, name)()
    assert str(error) == error.code
    assert error.detail == ""


def test_an_error_says_its_detail():
    assert str(errors.MissingField("openid is absent")) == "openid is absent"
    assert str(errors.UnknownOrder(1001)) == "1001"


@pytest.mark.parametrize(
    ("name", "base"),
    [
        *((name, "Malformed") for name, (_, status) in CODES.items() if status == 400 and name not in
          ("IncompleteBody", "NotifyError", "Malformed")),
        *((name, "UntrustedError") for name, (_, status) in CODES.items() if status == 401),
        ("UnknownMerchant", "UntrustedError"),
        ("StoreUnavailable", "StoreError"),
        ("ClaimLost", "StoreError"),
    ],
)  # fmt: skip
def test_an_error_can_be_caught_by_its_family(name, base):
    assert issubclass(getattr(errors, name), getattr(errors, base))


def test_a_configuration_error_is_a_value_error():
    with pytest.raises(ValueError, match="no key"):
        raise errors.ConfigurationError("no key")


def test_an_amount_mismatch_names_order_field_and_both_amounts():
    text = str(errors.AmountMismatch("A-1001", 1, "CNY", 100, "CNY"))
    assert text == "out_trade_no 'A-1001': total_fee is 1 fen, the order says 100 fen"


def test_an_amount_mismatch_names_both_currencies():
    text = str(errors.AmountMismatch("A-1001", 100, "USD", 100, "JPY"))
    assert "100 of 'USD'" in text
    assert "100 of 'JPY'" in text


def test_an_amount_mismatch_can_say_that_the_amount_was_absent():
    error = errors.AmountMismatch("A-1001", None, "CNY", 100, "CNY")
    assert error.received_fen is None
    assert "absent" in str(error)


def test_a_merchant_mismatch_names_order_field_and_both_ids():
    text = str(made("MerchantMismatch"))
    assert all(
        part in text for part in ("'A-1001'", "mch_id", "'1900000110'", "'1900000109' or '1900000111'")
    )


def test_a_failed_query_names_the_code_it_got():
    assert "ORDERNOTEXIST" in str(made("QueryFailed"))
    assert made("QueryFailed").err_code_des == "no such order"


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\rb",
        "\x1b[31mred",
        "a\u2028b",
        "a\u202eb",
        "\x85",
        "\0",
        "\ud800",
        "支付",
        "\x7f",
        "\U0001f600",
    ],
)
def test_foreign_text_is_shown_on_one_line_that_prints(text):
    assert shown(text).isprintable()
    shown(text).encode("utf-8")


def test_foreign_text_is_shown_quoted():
    assert shown("A-1001") == "'A-1001'"


def test_foreign_text_of_64_characters_is_shown_whole_and_of_65_is_cut():
    assert shown("x" * 64) == "'" + "x" * 64 + "'"
    assert shown("x" * 65) == "'" + "x" * 64 + "'..."


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value", [None, 1, 10**5000, b"bytes", ["list"], _Unprintable()], ids=lambda value: type(value).__name__
)
def test_what_is_not_text_is_shown_by_its_type(value):
    assert shown(value) == f"a {type(value).__name__}"


def test_the_helper_of_these_tests_sees_a_refusal():
    def refuse() -> None:
        raise errors.TooLarge("70000 bytes")

    assert code_of(refuse) == "too_large"
