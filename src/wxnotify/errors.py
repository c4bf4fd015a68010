"""
Every refusal, in one tree under :class:`NotifyError`.

Each class carries a stable ``code`` (what monitors, replies and tests compare)
and the HTTP ``status`` a refused delivery is answered with. The message is for
the person who must mend it: it names the field, what came and what was wanted.
It never holds a key, a signature, the string that was signed, or a body, and
text that came from outside is quoted and cut. Every error survives pickling,
because its arguments are positional and its text is made when it is asked for.

No class decides between SUCCESS and FAIL: every ``NotifyError`` is told FAIL.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousSignature",
    "AmountMismatch",
    "AttributeForbidden",
    "BadBill",
    "BadCiphertext",
    "BadEncoding",
    "BadField",
    "BadFieldName",
    "BadHeader",
    "BadJSON",
    "BadSignType",
    "BadSignature",
    "BodyTimeout",
    "ClaimLost",
    "CommentForbidden",
    "ConfigurationError",
    "ContentEncodingForbidden",
    "DtdForbidden",
    "DuplicateField",
    "EmptyBody",
    "ExpectationFailed",
    "ExtraMissing",
    "IncompleteBody",
    "InstructionForbidden",
    "Malformed",
    "MalformedSignature",
    "MerchantMismatch",
    "MethodNotAllowed",
    "MissingField",
    "MissingSignature",
    "NestedElement",
    "NoHandler",
    "NotSettled",
    "NotifyError",
    "QueryFailed",
    "ReturnCodeFail",
    "SandboxKey",
    "SignatureProbe",
    "StaleTimestamp",
    "StoreError",
    "StoreUnavailable",
    "TooLarge",
    "TooManyFields",
    "TransactionMismatch",
    "UnknownMerchant",
    "UnknownOrder",
    "UnknownSerial",
    "UnknownWork",
    "UntrustedError",
]

_SHOWN = 64


def shown(value: object) -> str:
    """Quote *value* for a message: on one line, what does not print escaped, at most 64 characters."""
    if not isinstance(value, str):
        return f"a {type(value).__name__}"  # its repr may be long, or raise as that of a huge int does
    return repr(value) if len(value) <= _SHOWN else repr(value[:_SHOWN]) + "..."


class NotifyError(Exception):
    """The root: whatever arrives, the core answers with a value or with one of these."""

    #: Stable name of the cause; it never changes once released.
    code = "notify_error"
    #: HTTP status of the FAIL reply, 4xx or 5xx.
    status = 400

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        #: What the message says.
        self.detail = detail

    def __str__(self) -> str:
        return str(self.detail) or self.code


# --- while the request is read -------------------------------------------------


class MethodNotAllowed(NotifyError):
    """The request is not a POST."""

    code = "method_not_allowed"
    status = 405


class ContentEncodingForbidden(NotifyError):
    """The body is compressed; WeChat Pay never compresses, and a bomb hides here."""

    code = "content_encoding_forbidden"
    status = 415


class IncompleteBody(NotifyError):
    """The body is shorter than announced, its length unreadable, or the sender hung up."""

    code = "incomplete_body"


class BodyTimeout(NotifyError):
    """The body did not arrive whole within the time allowed for it."""

    code = "body_timeout"
    status = 408


class TooLarge(NotifyError):
    """The body is over the size limit; nothing of it was parsed."""

    code = "too_large"
    status = 413


# --- while the bytes are parsed ------------------------------------------------


class Malformed(NotifyError):
    """The bytes are not the flat XML of an APIv2 notification."""

    code = "malformed"


class EmptyBody(Malformed):
    """There is no body, or nothing but white space in it."""

    code = "empty_body"


class BadEncoding(Malformed):
    """The bytes are not UTF-8, or the document claims to be something else."""

    code = "bad_encoding"


class DtdForbidden(Malformed):
    """The document declares a DTD or an entity (XXE, entity bombs)."""

    code = "dtd_forbidden"


class CommentForbidden(Malformed):
    """The document holds an XML comment, which can split a value unseen."""

    code = "comment_forbidden"


class InstructionForbidden(Malformed):
    """The document holds a processing instruction."""

    code = "instruction_forbidden"


class AttributeForbidden(Malformed):
    """An element has an attribute or a namespace declaration."""

    code = "attribute_forbidden"


class NestedElement(Malformed):
    """A field holds another element."""

    code = "nested_element"


class DuplicateField(Malformed):
    """A name occurs twice."""

    code = "duplicate_field"


class TooManyFields(Malformed):
    """The document has more fields than the limit."""

    code = "too_many_fields"


class BadFieldName(Malformed):
    """A name is not made of ASCII letters, digits and underscores, or is over 64 long."""

    code = "bad_field_name"


class BadJSON(Malformed):
    """The bytes, or what they decrypt to, are not the JSON object of an APIv3 notification."""

    code = "bad_json"


# --- while the fields are verified ---------------------------------------------


class UntrustedError(NotifyError):
    """The fields could not be shown to come from WeChat Pay."""

    code = "untrusted"
    status = 401


class MissingSignature(UntrustedError):
    """``sign`` is absent or empty."""

    code = "missing_signature"


class MalformedSignature(UntrustedError):
    """``sign`` is not 32 or 64 upper-case hexadecimal digits."""

    code = "malformed_signature"


class BadSignType(UntrustedError):
    """``sign_type`` is unknown, disagrees with ``sign``, or is not allowed for this merchant."""

    code = "bad_sign_type"


class BadSignature(UntrustedError):
    """``sign`` is not what any of the keys gives for these fields."""

    code = "bad_signature"


class AmbiguousSignature(UntrustedError):
    """A value swallows a field WeChat Pay makes: the signed text was split anew."""

    code = "ambiguous_signature"


class UnknownMerchant(UntrustedError):
    """No merchant is configured for this ``mch_id`` and dialect, so there is no key to verify with."""

    code = "unknown_merchant"
    status = 403


class SandboxKey(UntrustedError):
    """The signature holds, but under a key of the sandbox, which is not allowed here."""

    code = "sandbox_key"
    status = 403


class BadHeader(UntrustedError):
    """A ``Wechatpay-*`` header is absent, there twice, or not of the shape WeChat Pay gives it."""

    code = "bad_header"


class SignatureProbe(UntrustedError):
    """
    The signature begins ``WECHATPAY/SIGNTEST/``: WeChat Pay tries whether signatures are checked.

    It is wrong on purpose and refused as any other; the genuine notification follows.
    """

    code = "signature_probe"


class StaleTimestamp(UntrustedError):
    """The signature holds, but ``Wechatpay-Timestamp`` is over 5 minutes away from the clock."""

    code = "stale_timestamp"


class UnknownSerial(UntrustedError):
    """No platform key is configured for this ``Wechatpay-Serial``."""

    code = "unknown_serial"

    def __init__(self, serial: str) -> None:
        Exception.__init__(self, serial)
        #: As the header has it. It is nobody's word: it was never verified.
        self.serial = serial

    def __str__(self) -> str:
        return f"no platform key is configured for Wechatpay-Serial {shown(self.serial)}"


class BadCiphertext(UntrustedError):
    """No key of the merchant decrypts it: another key, or it was changed on its way."""

    code = "bad_ciphertext"
    #: Of the platform key that signed an APIv3 resource; empty elsewhere.
    serial = ""


class ExtraMissing(NotifyError, ImportError):
    """It needs a package that is not installed; the message says which extra brings it."""

    code = "extra_missing"
    status = 501


class ReturnCodeFail(NotifyError):
    """``return_code`` is not SUCCESS: such a message carries no signature and proves nothing."""

    code = "return_code_fail"
    status = 422


# --- while the verified fields are read and compared ----------------------------


class MissingField(NotifyError):
    """A field this kind of notification always has is absent or empty."""

    code = "missing_field"
    status = 422


class BadField(NotifyError):
    """A field's value does not have the shape WeChat Pay gives it."""

    code = "bad_field"
    status = 422


class MerchantMismatch(NotifyError):
    """Authentic, but for another merchant, app or sub-merchant."""

    code = "merchant_mismatch"
    status = 403

    def __init__(self, out_trade_no: str, field: str, received: str, expected: tuple[str, ...]) -> None:
        Exception.__init__(self, out_trade_no, field, received, expected)
        self.out_trade_no = out_trade_no
        #: The wire name that differs: ``mch_id``, ``appid``, ``sub_mch_id`` or ``sub_appid``.
        self.field = field
        self.received = received
        #: Whatever it may be; one empty text where it must be absent.
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"out_trade_no {shown(self.out_trade_no)}: {self.field} is {shown(self.received)}, "
            f"expected {' or '.join(map(repr, self.expected))}"
        )


class AmountMismatch(NotifyError):
    """Authentic, but not the amount or currency the order asks for."""

    code = "amount_mismatch"
    status = 422

    def __init__(
        self,
        out_trade_no: str,
        received_fen: int | None,
        received_currency: str,
        expected_fen: int,
        expected_currency: str,
    ) -> None:
        Exception.__init__(
            self, out_trade_no, received_fen, received_currency, expected_fen, expected_currency
        )
        self.out_trade_no = out_trade_no
        #: ``total_fee`` as it came, in the currency's smallest unit; None where it was absent.
        self.received_fen = received_fen
        self.received_currency = received_currency
        self.expected_fen = expected_fen
        self.expected_currency = expected_currency

    def __str__(self) -> str:
        came = "absent" if self.received_fen is None else _money(self.received_fen, self.received_currency)
        wanted = _money(self.expected_fen, self.expected_currency)
        return f"out_trade_no {shown(self.out_trade_no)}: total_fee is {came}, the order says {wanted}"


def _money(fen: int, currency: str) -> str:
    return f"{fen} fen" if currency == "CNY" else f"{fen} of {shown(currency)}"


class UnknownOrder(NotifyError):
    """
    No order has this ``out_trade_no``.

    Told 503, because the notification may have overtaken the commit that
    creates the order; the next one finds it.
    """

    code = "unknown_order"
    status = 503


class TransactionMismatch(NotifyError):
    """The order was already settled by another ``transaction_id``: it was paid twice."""

    code = "transaction_mismatch"
    status = 409


class QueryFailed(NotifyError):
    """WeChat Pay answered an order query, under its signature, that it cannot tell."""

    code = "query_failed"
    status = 502

    def __init__(self, err_code: str, err_code_des: str) -> None:
        Exception.__init__(self, err_code, err_code_des)
        #: For instance ``ORDERNOTEXIST`` or ``SYSTEMERROR``.
        self.err_code = err_code
        self.err_code_des = err_code_des

    def __str__(self) -> str:
        return f"order query: {shown(self.err_code)} {shown(self.err_code_des)}"


# --- while the delivery is settled ---------------------------------------------


class ExpectationFailed(NotifyError):
    """The merchant's own expectation raised or gave something that cannot be compared."""

    code = "expectation_failed"
    status = 500


class NoHandler(NotifyError):
    """No handler is registered for this kind of notification."""

    code = "no_handler"
    status = 500


class StoreError(NotifyError):
    """The idempotency store could not do what it was asked."""

    code = "store_error"
    status = 503


class StoreUnavailable(StoreError):
    """The store did not answer in time, or cannot be reached."""

    code = "store_unavailable"


class ClaimLost(StoreError):
    """
    The claim is no longer yours: its lease ran out and another delivery took it.

    Raised inside your transaction so that it rolls back; the successor settles
    the order.
    """

    code = "claim_lost"


# --- while an engine works on what was queued -----------------------------------


class NotSettled(NotifyError):
    """
    The work on a queued notification is not done: it failed, somebody is at it, or the store is down.

    Raised so that your engine tries again; what the handler raised is its ``__cause__``.
    """

    code = "not_settled"
    status = 503


class UnknownWork(NotifyError):
    """There is no such notification in the inbox, and it was not worked before."""

    code = "unknown_work"
    status = 404


# --- while a bill is reconciled -------------------------------------------------


class BadBill(NotifyError):
    """The file is no trade bill to compare, is cut off, or disagrees with itself."""

    code = "bad_bill"
    status = 422

    def __init__(self, detail: str, line: int = 0, column: str = "") -> None:
        Exception.__init__(self, detail, line, column)
        self.detail = detail
        #: From 1; 0 where it is no one line.
        self.line = line
        #: The bill's name of it; empty where it is no one column.
        self.column = column

    def __str__(self) -> str:
        place = f", line {self.line}" if self.line else ""
        return f"bill{place}{', ' if self.column else ''}{self.column}: {self.detail}"


# --- while you construct things ------------------------------------------------


class ConfigurationError(NotifyError, ValueError):
    """Something you configured cannot work; never caused by a request alone."""

    code = "configuration"
    status = 500
