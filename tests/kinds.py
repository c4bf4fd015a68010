"""One notification of each kind, made without a cipher, and the APIv3 contents that some are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wxnotify import (
    Decrypted,
    Notification,
    PayAfter,
    Payment,
    Refund,
    Verified,
    VerifiedResource,
    parse,
    verify,
)
from wxnotify._kinds import read_resource, read_verified
from wxnotify.testing import (
    APPID,
    KEY,
    MCH_ID,
    combined,
    contract,
    deduction,
    notification,
    plate_state,
    query_answer,
    scan,
)
from wxnotify.testing.apiv3_resources import COMBINED, PARTNER_PAYMENT, PAYMENT, REFUND

OPENID: Final = "oTest0000000000000000000000Payer"
SUB_MCH_ID: Final = "1900000110"
TRANSACTION_ID: Final = "4200000000202611230000000001"
PLATE: Final = "粤B88888"

CONTRACT: Final = {
    "mchid": MCH_ID,
    "appid": APPID,
    "contract_id": "Wx15463511252015071056489715",
    "out_contract_code": "K-1001",
    "plan_id": 12535,
    "openid": OPENID,
    "contract_state": "SIGNED",
    "contract_signed_time": "2026-11-23T12:00:00+08:00",
    "contract_terminated_time": "2026-11-24T12:00:00+08:00",
    "contract_expired_time": "2027-11-23T12:00:00+08:00",
}
PARTNER_CONTRACT: Final = {
    **{name: value for name, value in CONTRACT.items() if name not in ("mchid", "appid", "openid")},
    "sp_mchid": MCH_ID,
    "sp_appid": APPID,
    "sp_openid": OPENID,
    "sub_mchid": SUB_MCH_ID,
}
PROFIT_SHARING: Final = {
    "mchid": SUB_MCH_ID,
    "transaction_id": TRANSACTION_ID,
    "order_id": "30000000000000000000000001",
    "out_order_no": "P-1001",
    "receiver": {"type": "MERCHANT_ID", "account": MCH_ID, "amount": 88, "description": "freight"},
    "success_time": "2026-11-23T12:00:00+08:00",
}
TRANSFER: Final = {
    "mchid": MCH_ID,
    "out_bill_no": "T-1001",
    "transfer_bill_no": "1330000071100999991182020050700019480001",
    "state": "SUCCESS",
    "transfer_amount": 400,
    "openid": OPENID,
    "update_time": "2026-11-23T12:00:00+08:00",
}
BATCH: Final = {
    "mch_id": MCH_ID,
    "out_batch_no": "B-1001",
    "batch_id": "131000007026709999520922023081519403795655",
    "batch_status": "FINISHED",
    "total_num": 2,
    "total_amount": 200,
    "success_amount": 100,
    "update_time": "2026-11-23T12:00:00+08:00",
}
PAYSCORE_ORDER: Final = {
    "mchid": MCH_ID,
    "appid": APPID,
    "service_id": "500001",
    "out_order_no": "S-1001",
    "order_id": "15646546545165651651",
    "openid": OPENID,
    "state": "DONE",
    "total_amount": 40000,
    "collection": {"state": "USER_PAID", "details": [{"transaction_id": TRANSACTION_ID}]},
}
PAYSCORE_SERVICE: Final = {
    "mch_id": MCH_ID,
    "appid": APPID,
    "service_id": "500001",
    "openid": OPENID,
    "user_service_status": "USER_OPEN_SERVICE",
    "openorclose_time": "20261123120000",
    "authorization_code": "4534323JKHDFE1243252",
}
COMPLAINT: Final = {
    "complaint_id": "2002018202001010",
    "action_type": "CREATE_COMPLAINT",
    "out_trade_no": "A-1001",
}
# What stands outside of a rent or hotel event's ciphertext, and inside.
PAY_AFTER: Final = {
    "mch_id": MCH_ID,
    "app_id": APPID,
    "event_id": "EV-2026112312000000001",
    "event_create_time": "20261123120000",
    "event_type": "TRANSACTION.SUCCESS",
    "event_algorithm": "AEAD_AES_256_GCM",
    "event_nonce": "0123456789ab",
    "event_ciphertext": "AAAA",
    "nonce_str": "n",
}
PAY_AFTER_CONTENT: Final = {
    "state": "USER_PAID",
    "out_order_no": "A-1001",
    "order_id": "15646546545165651651",
    "deposit_amount": "10000",
    "total_amount": "200",
    "finish_transaction_id": TRANSACTION_ID,
    "openid": OPENID,
}
DECRYPTED: Final = {
    "transaction_id": TRANSACTION_ID,
    "out_trade_no": "A-1001",
    "refund_id": "50300000002026112300000000001",
    "out_refund_no": "R-1001",
    "total_fee": "100",
    "refund_fee": "100",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-23 13:00:00",
    "refund_recv_accout": "支付用户零钱",
}

#: An event of each type that has a class of its own, and one that has none.
EVENTS: Final[dict[str, Mapping[str, Any]]] = {
    "TRANSACTION.SUCCESS": PAYMENT,
    "TRANSACTION.FAIL": {**PAYMENT, "trade_state": "FAIL"},
    "TRANSACTION.PAY_BACK": {**PAYMENT, "trade_state": "PAY_BACK"},
    "TRANSACTION.INDUSTRY_SUCCESS": PAYMENT,
    "TRANSACTION.INDUSTRY_FAILED": {**PAYMENT, "trade_state": "PAYERROR"},
    "REFUND.SUCCESS": REFUND,
    "REFUND.ABNORMAL": {**REFUND, "refund_status": "ABNORMAL"},
    "REFUND.CLOSED": {**REFUND, "refund_status": "CLOSED"},
    "ENTRUST.SIGN": CONTRACT,
    "ENTRUST.TERMINATE": CONTRACT,
    "PROFITSHARING": PROFIT_SHARING,
    "PROFITSHARING.SUCCESS": PROFIT_SHARING,
    "PROFITSHARING.RETURN": PROFIT_SHARING,
    "PROFITSHARING_RETURN": PROFIT_SHARING,
    "MCHTRANSFER.BILL.FINISHED": TRANSFER,
    "MCHTRANSFER.QQWALLETBILL.FINISHED": TRANSFER,
    "MCHTRANSFER.BATCH.FINISHED": BATCH,
    "MCHTRANSFER.BATCH.CLOSED": {**BATCH, "batch_status": "CLOSED"},
    "PAYSCORE.USER_CONFIRM": PAYSCORE_ORDER,
    "PAYSCORE.USER_PAID": PAYSCORE_ORDER,
    "PAYSCORE.USER_OPEN_SERVICE": PAYSCORE_SERVICE,
    "PAYSCORE.USER_CLOSE_SERVICE": PAYSCORE_SERVICE,
    "COMPLAINT.CREATE": COMPLAINT,
}


def changed(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give *content* with other values; None leaves a name out."""
    return {name: value for name, value in {**content, **changes}.items() if value is not None}


def verified(body: bytes) -> Verified:
    return verify(parse(body), KEY)


def told(body: bytes) -> Notification:
    """Read the one notification that a signed APIv2 body is."""
    (one,) = read_verified(verified(body))
    return one


def resource(event_type: str, content: Mapping[str, Any], **attributes: Any) -> VerifiedResource:
    """Make what the APIv3 dialect gives for an event; with an empty type, for the answer to a query."""
    given = {"mch_id": MCH_ID, "serial": "F0", "key_index": 0, "notification_id": "EV-1", **attributes}
    return VerifiedResource._make(dict(content), event_type=event_type, **given)


def event(event_type: str, content: Mapping[str, Any] | None = None, **changes: Any) -> Notification:
    """Read the one notification that an APIv3 event is."""
    whole = EVENTS[event_type] if content is None else content
    (one,) = read_resource(resource(event_type, changed(whole, changes)))
    return one


def decrypted(**changes: str | None) -> Decrypted:
    outside = {"return_code": "SUCCESS", "mch_id": MCH_ID}
    return Decrypted._make(changed(DECRYPTED, changes), outside, mch_id=MCH_ID, key_index=0)


def pay_after(**changes: str | None) -> PayAfter:
    return PayAfter._of(verified(notification(PAY_AFTER)), changed(PAY_AFTER_CONTENT, changes))


def orders(body: bytes) -> tuple[Payment, ...]:
    """Read the payments of a combined order of APIv2."""
    payments = read_verified(verified(body))
    assert all(isinstance(payment, Payment) for payment in payments)
    return payments  # type: ignore[return-value]


#: One of each kind, of each dialect it comes in.
EVERY: Final[dict[str, Any]] = {
    "payment": lambda: told(notification(attach="a note")),
    "payment answer": lambda: told(query_answer()),
    "payment deducted": lambda: told(deduction()),
    "payment combined": lambda: orders(combined())[1],
    "payment APIv3": lambda: event("TRANSACTION.SUCCESS"),
    "payment APIv3 partner": lambda: event("TRANSACTION.SUCCESS", PARTNER_PAYMENT),
    "payment APIv3 combined": lambda: read_resource(resource("TRANSACTION.SUCCESS", COMBINED))[1],
    "payment APIv3 failed": lambda: event("TRANSACTION.FAIL"),
    "refund": lambda: Refund.from_decrypted(decrypted()),
    "refund APIv3": lambda: event("REFUND.SUCCESS"),
    "contract": lambda: told(contract()),
    "contract APIv3": lambda: event("ENTRUST.SIGN"),
    "contract APIv3 partner": lambda: event("ENTRUST.TERMINATE", PARTNER_CONTRACT),
    "plate": lambda: told(plate_state()),
    "scan": lambda: told(scan()),
    "pay_after": pay_after,
    "profit_sharing": lambda: event("PROFITSHARING.SUCCESS"),
    "transfer": lambda: event("MCHTRANSFER.BILL.FINISHED"),
    "transfer batch": lambda: event("MCHTRANSFER.BATCH.FINISHED"),
    "payscore order": lambda: event("PAYSCORE.USER_PAID"),
    "payscore service": lambda: event("PAYSCORE.USER_OPEN_SERVICE"),
    "event": lambda: event("COMPLAINT.CREATE"),
}
