"""
WeChat Pay's trade bill, read row by row and strictly.

It is one file whatever asked for it, APIv2's ``downloadbill`` or APIv3's
``/v3/bill/tradebill``: a line of column names; a line for each payment and refund,
with a backtick before each field, so that fields are parted by a comma *and* a
backtick and a comma alone is part of a name; a line of names for the summary; the
summary. What is relied on:

- Columns are found by name, because no two kinds of bill have the same. One of type
  SUCCESS lacks those of refunds, one of type REFUND has two more, and some merchants
  from before 2018 still get older names, 子商户号 for 特约商户号 and 总金额 for
  应结订单金额, without the columns at the end.
- 订单金额 is the amount of the order, ``total_fee``. 应结订单金额 is what is left of it
  after the coupons that the merchant pays for, ``settlement_total_fee``, and no order
  is compared with that. In the older bills 总金额 is the amount of the order.
- 特约商户号 is the sub-merchant, and ``0`` where there is none.
- 交易状态 says what the *row* is, and does not change: SUCCESS a payment, REFUND a
  refund, REVOKED a payment that was taken back. A payment that was refunded has both
  rows, under one 微信订单号.
- Amounts are in yuan: ``0.01``, ``0.0``, ``6``.
- 交易时间 is ``yyyy-MM-dd HH:mm:ss`` at UTC+8; of a payment, when it was paid.
- 总交易单数 counts the rows of every kind, 订单总金额 (in the older bills 总交易额) adds
  up their amounts. That of a refund is 0.00 there, and its own is in another column.

Source:
    WeChat Pay, "trade bill in detail" (docs/merchant/products/bill-download/format-trade,
    2024-11-25); APIv2 "download trade bill" (docs 4011987833 and, for providers,
    4011989905), with the older columns in chapter 9_6 of the former APIv2 documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ..errors import BadBill, shown
from ._bill_lines import BillLines

PAYMENT: Final = "SUCCESS"
_TAKEN_BACK: Final = ("REFUND", "REVOKED")
_BETWEEN: Final = ",`"
_NO_SUB_MERCHANT: Final = "0"
_YUAN: Final = r"-?(?:0|[1-9]\d{0,13})(?:\.\d\d?)?"


_MOMENT: Final = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]) (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"


class _Column(NamedTuple):
    #: The newest name first.
    names: tuple[str, ...]
    #: What its fields match; no backtick.
    shape: str
    #: The same for a person.
    expected: str


_COLUMNS: Final = (
    _Column(("交易时间",), _MOMENT, "a time like 2026-11-23 10:00:00"),
    _Column(("商户号",), "[0-9A-Za-z]{1,32}", "the number of a merchant"),
    _Column(("微信订单号",), "[0-9A-Za-z]{1,64}", "WeChat Pay's number of a payment, with all its digits"),
    _Column(("商户订单号",), r"[0-9A-Za-z_\-|*@]{1,32}", "the number of an order"),
    _Column(("交易状态",), "[0-9A-Za-z_]{1,32}", f"one of {PAYMENT}, {', '.join(_TAKEN_BACK)}"),
    _Column(("货币种类",), "[A-Z]{3}|", "a currency"),
    _Column(("订单金额", "总金额"), _YUAN, "an amount in yuan, with at most two decimals"),
    # Last, because a bill may do without it.
    _Column(("特约商户号", "子商户号"), "[0-9A-Za-z]{0,32}", "the number of a merchant, or 0"),
)
_AMOUNT: Final = _COLUMNS[6]
_OPTIONAL: Final = _COLUMNS[7]
#: What a merchant or a payer wrote, and the one place where a comma and a backtick may part nothing.
_FREE: Final = ("商品名称", "商户数据包")
_ONLY_OF_REFUNDS: Final = "退款成功时间"
_ROWS: Final = "总交易单数"
_TOTALS: Final = {"订单金额": "订单总金额", "总金额": "总交易额"}


class BillRow(NamedTuple):
    """What is compared of a row."""

    #: Its line in the file, from 1.
    line: int
    #: 交易时间, as it stands there.
    paid_at: str
    mch_id: str
    #: Empty where there is none.
    sub_mch_id: str
    transaction_id: str
    out_trade_no: str
    #: 交易状态.
    state: str
    #: CNY where the bill says nothing.
    fee_type: str
    #: Of the amount as the bill has it. In CNY that is fen.
    hundredths: int


def fen(text: str) -> int:
    """
    Give the fen of an amount in yuan, exactly.

    Raises:
        BadBill: If it is no plain number with at most two decimals. Nothing is rounded.

    Example:
        >>> fen("19.99"), fen("0.1"), fen("100")
        (1999, 10, 10000)
    """
    if not re.fullmatch(_YUAN, text, re.ASCII):
        raise BadBill(f"{shown(text)} is not {_AMOUNT.expected}")
    return _hundredths(text)


def _hundredths(yuan: str) -> int:
    if yuan[-3:-2] == ".":
        return int(yuan[:-3] + yuan[-2:])
    if yuan[-2:-1] == ".":
        return int(yuan[:-2] + yuan[-1] + "0")
    return int(yuan + "00")


def _yuan(hundredths: int) -> str:
    whole, rest = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else ''}{whole}.{rest:02}"


class BillRows:
    """
    Give the payments of a bill, once, and count what else is in it.

    Whatever is no refund and nothing revoked is given: look at its ``state``.
    The figures are whole when the iteration has come to its end.

    Args:
        lines: Its lines.

        mch_id: Whose bill it must be; None takes anybody's.

    Raises:
        BadBill: From the iteration, if this is no trade bill, if it is cut off or
            disagrees with its own summary, if a value cannot be read, or a row is
            another merchant's.
    """

    def __init__(self, lines: BillLines, mch_id: str | None = None) -> None:
        self.lines = lines
        self._mch_id = mch_id
        #: Whose rows there are.
        self.merchants = {mch_id} if mch_id else set[str]()
        #: How many rows there are of each 交易状态.
        self.states: Counter[str] = Counter()
        #: 交易时间 of the first and the last payment in time; empty if there are none.
        self.earliest = self.latest = ""

    def __iter__(self) -> Iterator[BillRow]:
        lines = iter(self.lines)
        header = next(lines, None)
        if header is None:
            raise BadBill("it is empty: download it again")
        layout = _Layout(header)
        match, order, states, merchants = layout.match, layout.order, self.states, self.merchants
        total, earliest, latest = 0, self.earliest, self.latest
        for line in lines:
            read = match(line)
            values: Sequence[str]
            if read:
                values = read.group(*order)
            elif line.lstrip("`").startswith(_ROWS):
                self._check_summary(line, lines, layout.amount, total)
                return
            elif line.strip():
                values = layout.read(line, self.lines.number)
            else:
                continue
            paid_at, mch_id, transaction_id, out_trade_no, state, fee_type, yuan, sub_mch_id = values
            hundredths = _hundredths(yuan)
            total += hundredths
            states[state] += 1
            if mch_id not in merchants:
                if self._mch_id:
                    raise BadBill(
                        f"{shown(mch_id)} is not {shown(self._mch_id)}", self.lines.number, "商户号"
                    )
                merchants.add(mch_id)
            if state in _TAKEN_BACK:
                continue
            if state == PAYMENT:
                if hundredths < 0:
                    raise BadBill("a payment is less than nothing", self.lines.number, layout.amount)
                if not earliest or paid_at < earliest:
                    self.earliest = earliest = paid_at
                if paid_at > latest:
                    self.latest = latest = paid_at
            yield BillRow(
                self.lines.number,
                paid_at,
                mch_id,
                "" if sub_mch_id == _NO_SUB_MERCHANT else sub_mch_id,
                transaction_id,
                out_trade_no,
                state,
                fee_type or "CNY",
                hundredths,
            )
        raise BadBill("it ends without its summary: it is cut off, download it again", self.lines.number)

    def _check_summary(self, names: str, lines: Iterator[str], amount: str, total: int) -> None:
        line = next(lines, "")
        number = self.lines.number
        values = dict(zip(_names(names), line[1:].split(_BETWEEN), strict=False))
        rows, sums = values.get(_ROWS, ""), _TOTALS[amount]
        if line[:1] != "`" or len(values) != len(_names(names)):
            raise BadBill("the summary is not whole: the bill is cut off, download it again", number)
        if rows != str(self.states.total()):
            raise BadBill(
                f"it says {shown(rows)}, the number of rows is {self.states.total()}", number, _ROWS
            )
        if sums in values and fen(values[sums]) != total:
            raise BadBill(
                f"it says {shown(values[sums])} yuan, the rows add up to {_yuan(total)} yuan", number, sums
            )
        if any(line.strip() for line in lines):
            raise BadBill("something follows the summary: one bill is one file", self.lines.number)


class _Layout:
    """Where the columns of a bill are, by its first line."""

    def __init__(self, header: str) -> None:
        names = _names(header)
        if not set(_COLUMNS[0].names) & set(names):
            raise BadBill("not the first line of a trade bill", 1, _COLUMNS[0].names[0])
        if _ONLY_OF_REFUNDS in names:
            raise BadBill("a bill of type REFUND has no payments: ask for ALL or SUCCESS", 1)
        found = [next((name for name in column.names if name in names), "") for column in _COLUMNS]
        for column, name in zip(_COLUMNS, found, strict=True):
            if not name and column is not _OPTIONAL:
                raise BadBill("there is no such column", 1, " or ".join(column.names))
            if name and names.count(name) > 1:
                raise BadBill("there are two of this column", 1, name)
        #: Its column's name.
        self.amount = found[_COLUMNS.index(_AMOUNT)]
        self._width = len(names)
        self._there = [(name, column) for name, column in zip(found, _COLUMNS, strict=True) if name]
        self._at = [names.index(name) for name, _ in self._there]
        free = [names.index(name) for name in _FREE if name in names]
        # Only between these two may there be more fields than there are columns.
        apart = free and not any(free[0] < at < free[-1] for at in self._at)
        self._free = free[0] if apart else None
        # Nearly every row is like this. No field of it has a backtick, so it parts as read() parts it.
        shapes = {at: f"({column.shape})" for at, (_, column) in zip(self._at, self._there, strict=True)}
        row = _BETWEEN.join(shapes.get(at, "[^`]*") for at in range(self._width))
        #: Matches such a row.
        self.match = re.compile(f"`{row}()", re.ASCII).fullmatch
        #: Its groups, in the order of ``_COLUMNS``; the empty one for the column that may be absent.
        self.order = [sorted(self._at).index(at) + 1 for at in self._at]
        self.order += [len(self._at) + 1] * (len(_COLUMNS) - len(self._at))

    def read(self, line: str, number: int) -> Sequence[str]:
        """
        Read any row, or say what is wrong with it.

        A comma and a backtick in what somebody wrote make more fields than there
        are columns. What comes before is then counted from the front, and what
        comes after from the end.
        """
        if line[0] != "`":
            raise BadBill("a row begins with a backtick: the bill was changed", number)
        fields = line[1:].split(_BETWEEN)
        more = len(fields) - self._width
        if more < 0 or (more and self._free is None):
            raise BadBill(f"{len(fields)} fields in {self._width} columns: cut off, or changed", number)
        values: list[str] = []
        for at, (name, column) in zip(self._at, self._there, strict=True):
            field = fields[at if self._free is None or at < self._free else at + more]
            if not re.fullmatch(column.shape, field, re.ASCII):
                raise BadBill(f"{shown(field)} is not {column.expected}", number, name)
            values.append(field)
        return [*values, ""][: len(_COLUMNS)]


def _names(line: str) -> list[str]:
    # The documents put a backtick before names too; no bill was seen to have it.
    return [name.strip().lstrip("`") for name in line.split(",")]
