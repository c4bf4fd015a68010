"""Builds trade bills as WeChat Pay writes them, in each of their forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MCH_ID: Final = "1900000109"

ALL: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,"
    "手续费,费率,订单金额,申请退款金额,费率备注"
)
SUCCESS: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,商品名称,商户数据包,手续费,费率,订单金额,费率备注"
)
REFUND: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,退款申请时间,退款成功时间,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,"
    "商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
#: What some merchants from before 2018 still get.
FORMER: Final = (
    "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "总金额,代金券或立减优惠金额,微信退款单号,商户退款单号,退款金额,代金券或立减优惠退款金额,退款类型,退款状态,商品名称,"
    "商户数据包,手续费,费率"
)
SUMMARY: Final = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
FORMER_SUMMARY: Final = "总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额"

_FIELDS: Final = {
    "交易时间": "2026-11-23 10:00:00",
    "公众账号ID": "wx2421b1c4370ec43b",
    "商户号": MCH_ID,
    "特约商户号": "0",
    "子商户号": "0",
    "用户标识": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "交易类型": "JSAPI",
    "交易状态": "SUCCESS",
    "付款银行": "OTHERS",
    "货币种类": "CNY",
    "代金券金额": "0.00",
    "微信退款单号": "0",
    "商户退款单号": "0",
    "退款金额": "0.00",
    "商品名称": "测试商品",
    "手续费": "0.00000",
    "费率": "0.60%",
    "申请退款金额": "0.00",
}


def transaction(number: int) -> str:
    """Give the transaction_id of the order with this number."""
    return f"42000020{number:020}"


def payment(number: int, yuan: str = "1.00", **fields: str) -> dict[str, str]:
    """Give the fields of a payment; those that are named take the place of the usual ones."""
    amounts = {"订单金额": yuan, "应结订单金额": yuan, "总金额": yuan}
    ids = {"微信订单号": transaction(number), "商户订单号": f"A-{number}"}
    return {**_FIELDS, **amounts, **ids, **fields}


def refund(number: int, yuan: str = "1.00", **fields: str) -> dict[str, str]:
    """Give the fields of a refund of the payment with this number."""
    ids = {"微信退款单号": f"5030{number:020}", "商户退款单号": f"R-{number}", "退款类型": "ORIGINAL"}
    amounts = {"退款金额": yuan, "申请退款金额": yuan, "退款状态": "SUCCESS"}
    return payment(number, "0.00", 交易状态="REFUND", **{**ids, **amounts, **fields})


def line(fields: dict[str, str], header: str = ALL) -> str:
    """Write a row: a backtick before each field."""
    return ",".join(f"`{fields.get(name, '')}" for name in header.split(","))


def summary(rows: int, yuan: str, names: str = SUMMARY) -> str:
    """Write the last two lines."""
    known = {"总交易单数": str(rows), "订单总金额": yuan, "总交易额": yuan}
    return names + "\r\n" + ",".join(f"`{known.get(name, '0.00')}" for name in names.split(","))


def bill(
    rows: Iterable[dict[str, str]],
    *,
    header: str = ALL,
    names: str = SUMMARY,
    total: str | None = None,
    count: int | None = None,
) -> bytes:
    """Write a whole bill; *total* and *count* instead of what is true."""
    rows = list(rows)
    column = "订单金额" if "订单金额" in header.split(",") else "总金额"
    fen = sum(round(float(row[column]) * 100) for row in rows if total is None)
    lines = [
        header,
        *[line(row, header) for row in rows],
        summary(len(rows) if count is None else count, total or f"{fen // 100}.{fen % 100:02}", names),
    ]
    return "".join(f"{one}\r\n" for one in lines).encode()
