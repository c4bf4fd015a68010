"""Reading a trade bill: the files there are, what money it says, and everything that is wrong with some."""

from __future__ import annotations

import gzip
import io
import pickle
import random
from decimal import Decimal

import pytest

from wxnotify.errors import BadBill
from wxnotify.reconcile._bill_lines import _LONGEST_LINE, _PIECE, BillLines
from wxnotify.reconcile._bills import BillRow, BillRows, fen

from . import bills
from .bills import bill, line, payment, refund, summary


def rows(source) -> list[BillRow]:
    return list(BillRows(BillLines(source)))


def refused(source) -> BadBill:
    """Give the refusal a bill ends in."""
    with pytest.raises(BadBill) as refusal:
        rows(source)
    return refusal.value


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\r\n" for text in texts).encode()


# --- money -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yuan", "exactly"),
    [
        ("0.01", 1),
        ("0.10", 10),
        ("0.1", 10),
        ("1", 100),
        ("1.5", 150),
        ("100.00", 10_000),
        ("0", 0),
        ("0.0", 0),
        ("-3.05", -305),
        ("-0.05", -5),
        ("99999999999999.99", 9_999_999_999_999_999),
    ],
)
def test_yuan_become_fen_exactly(yuan, exactly):
    assert fen(yuan) == exactly


def test_every_amount_with_two_decimals_agrees_with_decimal_arithmetic():
    # 1.15 * 100 is 114.99999999999999 in floats, and so is many another.
    for cents in [*range(10_000), *(random.Random(1).randrange(10**12) for _ in range(2_000))]:
        yuan = f"{cents // 100}.{cents % 100:02}"
        assert fen(yuan) == cents == Decimal(yuan) * 100


@pytest.mark.parametrize(
    "yuan",
    [
        "1.005", "1e2", "-", "", ".5", "1.", "+1", " 1", "1 ", "1\n", "01.00", "00", "1,000.00", "0x1", "NaN",
        "inf", "１.00", "1.0٠", "1_0", "¥1.00", "1.00元", "--1", "100000000000000", "1.-5",
    ],
)  # fmt: skip
def test_an_amount_that_is_not_plain_is_refused(yuan):
    with pytest.raises(BadBill):
        fen(yuan)


# --- the kinds of bill ------------------------------------------------------------


def test_a_payment_is_read_from_a_bill_of_all():
    (row,) = rows(bill([payment(1, "12.30", 特约商户号="1900000110")]))
    assert row == BillRow(
        line=2,
        paid_at="2026-11-23 10:00:00",
        mch_id=bills.MCH_ID,
        sub_mch_id="1900000110",
        transaction_id=bills.transaction(1),
        out_trade_no="A-1",
        state="SUCCESS",
        fee_type="CNY",
        hundredths=1230,
    )


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (bills.ALL, bills.SUMMARY),
        (bills.SUCCESS, bills.SUMMARY),
        (bills.SUCCESS, "总交易单数,应结订单总金额,手续费总金额,订单总金额"),
        (bills.FORMER, bills.FORMER_SUMMARY),
        (
            bills.FORMER.replace("代金券或立减优惠", "企业红包"),
            "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额",
        ),
    ],
)
def test_every_kind_of_bill_gives_the_same_payments(header, names):
    said = bill([payment(1, "0.01"), payment(2, "2.50")], header=header, names=names)
    found = [(row.out_trade_no, row.hundredths, row.sub_mch_id) for row in rows(said)]
    assert found == [("A-1", 1, ""), ("A-2", 250, "")]


def test_the_documents_own_example_is_read():
    # APIv2, "download bill", chapter 9_6; its colons are made the ones that bills have.
    said = lines(
        "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
        "总金额,代金券或立减优惠金额,微信退款单号,商户退款单号,退款金额,代金券或立减优惠退款金额,退款类型,退款状态,商品名称,"
        "商户数据包,手续费,费率",
        "`2014-11-10 16:33:45,`wx2421b1c4370ec43b,`10000100,`0,`1000,`1001690740201411100005734289,"
        "`1415640626,`085e9858e3ba5186aafcbaed1,`MICROPAY,`SUCCESS,`OTHERS,`CNY,`0.01,`0.0,`0,`0,`0,`0,`,`,`被扫支付测试,"
        "`订单额外描述,`0,`0.60%",
        "`2014-11-10 16:46:14,`wx2421b1c4370ec43b,`10000100,`0,`1000,`1002780740201411100005729794,"
        "`1415635270,`085e9858e90ca40c0b5aee463,`MICROPAY,`SUCCESS,`OTHERS,`CNY,`0.01,`0.0,`0,`0,`0,`0,`,`,`被扫支付测试,"
        "`订单额外描述,`0,`0.60%",
        "总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额",
        "`2,`0.02,`0.0,`0.0,`0",
    )
    assert [(row.out_trade_no, row.hundredths) for row in rows(said)] == [
        ("1415640626", 1),
        ("1415635270", 1),
    ]


def test_the_order_is_compared_and_not_what_is_settled_of_it():
    # A coupon of the merchant's: 9.00 of an order of 10.00 are settled.
    (row,) = rows(bill([payment(1, "10.00", 应结订单金额="9.00")]))
    assert row.hundredths == 1000


def test_columns_are_found_by_name():
    header = ",".join(["新的列", *reversed(bills.ALL.split(",")), "又一列"])
    (row,) = rows(bill([payment(1, "3.21", 特约商户号="1900000110")], header=header))
    assert (row.out_trade_no, row.hundredths, row.sub_mch_id) == ("A-1", 321, "1900000110")


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_bill_may_do_without_the_column_of_sub_merchants(at_the_end):
    kept = [name for name in bills.ALL.split(",") if name != "特约商户号"]
    header = ",".join([*kept, "", ""] if at_the_end else kept)
    (row,) = rows(bill([payment(1, 商品名称="a,`b")], header=header))
    assert (row.mch_id, row.sub_mch_id, row.hundredths) == (bills.MCH_ID, "", 100)


def test_no_currency_means_cny():
    assert rows(bill([payment(1, 货币种类="")]))[0].fee_type == "CNY"


def test_refunds_and_what_was_taken_back_are_counted_and_not_given():
    read = BillRows(
        BillLines(bill([payment(1), refund(1), refund(2), payment(3, "0.00", 交易状态="REVOKED")]))
    )
    assert [row.out_trade_no for row in read] == ["A-1"]
    assert read.states == {"SUCCESS": 1, "REFUND": 2, "REVOKED": 1}


def test_a_state_that_is_new_is_given():
    assert [row.state for row in rows(bill([payment(1, 交易状态="SETTLING")]))] == ["SETTLING"]


def test_the_earliest_and_the_latest_are_of_payments_alone():
    times = ["2026-11-23 12:00:00", "2026-11-23 08:00:01", "2026-11-23 23:59:59"]
    said = [payment(n, 交易时间=time) for n, time in enumerate(times)]
    read = BillRows(BillLines(bill([refund(7, 交易时间="2026-11-20 01:00:00"), *said])))
    assert len(list(read)) == 3
    assert (read.earliest, read.latest) == ("2026-11-23 08:00:01", "2026-11-23 23:59:59")


def test_an_empty_bill_is_a_bill():
    read = BillRows(BillLines(bill([])))
    assert (list(read), read.earliest, read.latest) == ([], "", "")


# --- what people write --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a,b",
        "a`b",
        "a,`b",
        ",`,`,`",
        "`",
        ",",
        '"a,b',
        "a, `b",
        "'",
        "a,`SUCCESS,`OTHERS,`CNY,`0.01,`9",
        "总交易单数",
    ],
)
@pytest.mark.parametrize("column", ["商品名称", "商户数据包"])
@pytest.mark.parametrize("header", [bills.ALL, bills.SUCCESS, bills.FORMER])
def test_what_somebody_wrote_changes_no_other_field(header, column, text):
    names = bills.FORMER_SUMMARY if header is bills.FORMER else bills.SUMMARY
    plain = bill([payment(1, "7.77"), payment(2)], header=header, names=names)
    written = bill([payment(1, "7.77", **{column: text}), payment(2)], header=header, names=names)
    assert rows(written) == rows(plain)


def test_a_summary_cannot_be_forged_by_an_order():
    # If an order could hold a line end, its summary would end the bill before the last payments.
    attach = "x,`0,`0.60%,`1.00,`0.00,`\r\n" + summary(1, "1.00") + "\r\n"
    assert "follows the summary" in str(refused(bill([payment(1, 商户数据包=attach), payment(2)])))


def test_a_separator_too_many_where_nobody_writes_is_refused():
    # All that follows is one column off, and no bank is a currency.
    refusal = refused(bill([payment(1, 设备号="a,`b")]))
    assert (refusal.line, refusal.column) == (2, "货币种类")
    header = "交易时间,商户号,微信订单号,商户订单号,交易状态,货币种类,订单金额,备注"
    assert "9 fields in 8 columns" in str(refused(bill([payment(1, 备注="a,`b")], header=header)))


def test_a_column_that_is_needed_is_not_looked_for_between_those_people_write():
    header = bills.ALL.replace(",费率,订单金额,", ",费率,").replace("商品名称,", "商品名称,订单金额,")
    assert rows(bill([payment(1, "2.00")], header=header))[0].hundredths == 200
    assert "28 fields in 27 columns" in str(refused(bill([payment(1, 商户数据包="a,`b")], header=header)))


# --- what a bill may come as --------------------------------------------------------

TWO = bill([payment(1), payment(2, "2.00")])


class OnlyReads:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 7))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
@pytest.mark.parametrize(
    "given", ["path", "text path", "file", "reader", "bytes", "bytearray", "pieces", "bytes one by one"]
)
def test_a_bill_comes_from_anywhere(given, mark, packed, tmp_path):
    content = gzip.compress(mark + TWO) if packed else mark + TWO
    path = tmp_path / "bill"
    path.write_bytes(content)
    source = {
        "path": path,
        "text path": str(path),
        "file": io.BytesIO(content),
        "reader": OnlyReads(content),
        "bytes": content,
        "bytearray": bytearray(content),
        "pieces": iter([b"", content[:100], b"", content[100:]]),
        "bytes one by one": [content[at : at + 1] for at in range(len(content))],
    }[given]
    read = BillLines(source)
    assert [row.hundredths for row in BillRows(read)] == [100, 200]
    assert read.bytes_read == len(content)


def test_a_file_that_was_opened_elsewhere_is_left_open(tmp_path):
    file = io.BytesIO(TWO)
    assert len(rows(file)) == 2
    assert not file.closed


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_as_they_do(end, last):
    content = TWO.decode().replace("\r\n", end)
    assert len(rows((content if last else content.removesuffix(end)).encode())) == 2


def test_blank_lines_are_no_rows():
    content = TWO.decode().split("\r\n")
    content[2:2] = ["", "  "]
    found = rows("\r\n".join([*content, "", ""]).encode())
    assert [row.line for row in found] == [2, 5]


def test_gzip_in_several_members_is_one_bill():
    assert len(rows(gzip.compress(TWO[:300]) + gzip.compress(TWO[300:]))) == 2


def test_gzip_is_unpacked_piece_by_piece():
    # A gigabyte of blank lines would be here in a few kilobytes; half a megabyte shows as much.
    size = _PIECE * 2
    packed = gzip.compress(b"\n" * size)
    biggest = max(len(piece) for piece in BillLines(packed)._unpacked())
    assert biggest <= _PIECE
    assert sum(1 for _ in BillLines(packed)) == size


# --- what is no bill -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (b"\r\n", "not the first line"),
        (b"hello", "not the first line"),
        ("微信支付账单明细,,,,".encode(), "not the first line"),
        (b"<xml><return_code><![CDATA[FAIL]]></return_code></xml>", "XML"),
        (b'{"code":"NO_STATEMENT_EXIST","message":"..."}', "JSON"),
        (b"PK\x03\x04" + bytes(200), "archive"),
        (TWO.decode().encode("utf-16"), "UTF-16"),
        (TWO.decode().encode("gbk"), "GBK"),
        (b"\x80abc", "not UTF-8: take"),
        (b"\xff", "not UTF-8: take"),
        (gzip.compress(TWO)[:-9], "cut off"),
        (gzip.compress(TWO)[:5], "cut off"),
        (gzip.compress(TWO) + b"more", "damaged"),
        (gzip.compress(TWO)[:20] + b"\xff" * 20, "damaged"),
        (gzip.compress(TWO.decode().encode("gbk")), "GBK"),
    ],
)  # fmt: skip
def test_what_is_no_bill_is_refused_by_its_name(content, said):
    assert said in str(refused(content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "<xml><return_code><![CDATA[FAIL]]></return_code>\n"
            "<return_msg><![CDATA[No Bill Exist]]></return_msg><mch_id>1900000109</mch_id></xml>",
            " (return_msg 'No Bill Exist')",
        ),
        ("<xml><return_msg> busy </return_msg></xml>", " (return_msg 'busy')"),
        ("<xml><return_msg>busy", ""),
        ("<html><title>502 Bad Gateway</title></html>", ""),
        (
            '{"code":"NO_STATEMENT_EXIST","message":"账单文件不存在","detail":{"mchid":"1900000109"}}',
            " (code 'NO_STATEMENT_EXIST', message '账单文件不存在')",
        ),
        ('{"message":"a\\nb","code":5}', " (message 'a\\nb')"),
        ('{"download_url":"https://api.mch.weixin.qq.com/1900000109?token=x"}', ""),
        ('{"code":"CUT_O', ""),
        ('{"code":' * 60_000, ""),
    ],
)
@pytest.mark.parametrize("size", [7, _PIECE])
def test_an_error_says_what_wechat_pay_says_and_nothing_else_of_it(content, said, size):
    answer = content.encode()
    refusal = refused([answer[at : at + size] for at in range(0, len(answer), size)])
    assert str(refusal).endswith(f"or that there is no bill{said}")
    assert refusal.__context__ is None


def test_what_an_error_says_is_cut():
    for content in (f"<return_msg>{'x' * 9_000}</return_msg>", f'{{"message":"{"x" * 9_000}"}}'):
        assert len(str(refused(content.encode()))) < 200


def test_an_error_is_not_read_to_its_end():
    given = 0

    def endless():
        nonlocal given
        while True:
            given += _PIECE
            yield b"<" * _PIECE

    assert refused(endless()).code == "bad_bill"
    assert given <= 2 * _PIECE


def test_a_file_without_line_ends_is_not_read_into_memory():
    given = 0

    def endless():
        nonlocal given
        while True:
            given += _PIECE
            yield b"x" * _PIECE

    assert "does not end" in str(refused(endless()))
    assert given <= _LONGEST_LINE + 2 * _PIECE


@pytest.mark.parametrize("source", [io.StringIO("交易时间"), ["交易时间"], [1], [None]])
def test_text_is_not_bytes(source):
    with pytest.raises(TypeError, match="read as bytes"):
        rows(source)


def test_a_bill_of_refunds_has_nothing_to_compare():
    assert "ask for ALL or SUCCESS" in str(refused(bill([refund(1)], header=bills.REFUND)))


@pytest.mark.parametrize(
    ("gone", "column"),
    [
        ("商户号", "商户号"),
        ("微信订单号", "微信订单号"),
        ("商户订单号", "商户订单号"),
        ("交易状态", "交易状态"),
        ("货币种类", "货币种类"),
        ("订单金额", "订单金额 or 总金额"),
        ("交易时间", "交易时间"),
    ],
)
def test_a_column_that_is_missing_is_named(gone, column):
    header = ",".join(name for name in bills.ALL.split(",") if name != gone)
    refusal = refused(bill([], header=header))
    assert (refusal.line, refusal.column) == (1, column)


def test_a_column_that_is_there_twice_is_refused():
    refusal = refused(bill([], header=f"{bills.ALL},订单金额"))
    assert (refusal.line, refusal.column) == (1, "订单金额")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("订单金额", "1.005"),
        ("订单金额", "1e2"),
        ("订单金额", "-"),
        ("订单金额", ""),
        ("交易时间", "2026-11-23"),
        ("交易时间", "2026-11-23 24:00:00"),
        ("交易时间", "2026-13-01 00:00:00"),
        ("交易时间", "2014-11-10 16：33：45"),
        ("交易时间", "２026-11-23 10:00:00"),
        ("商户号", ""),
        ("商户号", "19000/00109"),
        ("特约商户号", "1.9E+09"),
        ("微信订单号", "4.2E+27"),
        ("微信订单号", ""),
        ("微信订单号", "42/SUCCESS"),
        ("商户订单号", "A 1"),
        ("商户订单号", "A" * 33),
        ("交易状态", ""),
        ("货币种类", "人民币"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_its_place(column, value):
    refusal = refused(bill([payment(1), payment(2, **{column: value})], total="2.00"))
    assert (refusal.line, refusal.column) == (3, column)
    assert str(refusal).startswith(f"bill, line 3, {column}: {value[:20]!r}"[:-1])


def test_a_payment_of_less_than_nothing_is_refused():
    refusal = refused(bill([payment(1, "-1.00")], total="-1.00"))
    assert (refusal.line, refusal.column) == (2, "订单金额")


def test_a_refund_may_be_less_than_nothing():
    # Nobody saw one, but the amounts of refunds decide nothing here.
    assert len(rows(bill([payment(1, "3.00"), refund(1, 订单金额="-1.00")], total="2.00"))) == 1


# --- what is not whole ----------------------------------------------------------------


def test_a_bill_that_is_cut_off_is_noticed_wherever_it_is_cut():
    whole = bill([payment(1, "1.23"), payment(2, "4.56")])
    # Cut inside the last figures of the summary, nothing that is used would be missing.
    until = whole.index(b"5.79") + len("5.79") - 1
    for size in range(until):
        assert refused(whole[:size]).code == "bad_bill"


def test_a_bill_without_its_summary_is_cut_off():
    refusal = refused(lines(bills.ALL, line(payment(1))))
    assert "cut off" in str(refusal)
    assert refusal.line == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_count_that_is_not_so_is_refused(count):
    refusal = refused(bill([payment(1), refund(1)], count=count))
    assert (refusal.line, refusal.column) == (5, "总交易单数")


@pytest.mark.parametrize("total", ["0.99", "1.01", "100", "x"])
@pytest.mark.parametrize(
    ("header", "names", "column"),
    [(bills.ALL, bills.SUMMARY, "订单总金额"), (bills.FORMER, bills.FORMER_SUMMARY, "总交易额")],
)
def test_a_total_that_is_not_so_is_refused(header, names, column, total):
    refusal = refused(bill([payment(1, "1.00")], header=header, names=names, total=total))
    if total != "x":
        assert (refusal.line, refusal.column) == (4, column)


@pytest.mark.parametrize(
    ("rows", "total", "said"),
    [
        ([payment(1, "44.01")], "99.00", "it says '99.00' yuan, the rows add up to 44.01 yuan"),
        ([payment(1, "0.05")], "5", "it says '5' yuan, the rows add up to 0.05 yuan"),
        ([refund(1, 订单金额="-3.05")], "3.05", "it says '3.05' yuan, the rows add up to -3.05 yuan"),
    ],
)
def test_both_totals_are_said_in_yuan(rows, total, said):
    assert str(refused(bill(rows, total=total))).endswith(said)


def test_a_summary_without_the_total_is_held_against_the_count_alone():
    assert len(rows(bill([payment(1)], names="总交易单数,手续费总金额"))) == 1


@pytest.mark.parametrize("last", ["1,0.00", "11,`1.00", "`1", ""])
def test_a_summary_that_is_not_whole_is_refused(last):
    refusal = refused(lines(bills.ALL, line(payment(1)), "总交易单数,订单总金额", last))
    assert "not whole" in str(refusal)


def test_two_bills_in_one_file_are_refused():
    assert "follows the summary" in str(refused(TWO + TWO))


def test_a_row_without_its_backticks_is_refused():
    refusal = refused(bill([payment(1)]).replace(b"`2026", b"2026"))
    assert (refusal.line, "backtick" in str(refusal)) == (2, True)


def test_a_row_that_lost_fields_is_refused():
    refusal = refused(bill([payment(1)]).replace(b",`OTHERS", b""))
    assert (refusal.line, "26 fields in 27 columns" in str(refusal)) == (2, True)


def test_the_backticks_may_stand_before_names_too():
    said = bill([payment(1)]).decode()
    for names in (bills.ALL, bills.SUMMARY):
        said = said.replace(names, ",".join(f"`{name}" for name in names.split(",")))
    assert len(rows(said.encode())) == 1


def test_the_refusal_says_where_and_survives_pickling():
    refusal = refused(bill([payment(1, "x")], total="1.00"))
    again = pickle.loads(pickle.dumps(refusal))
    assert (str(again), again.line, again.column) == (str(refusal), 2, "订单金额")
    assert str(BadBill("it is so")) == "bill: it is so"


def test_no_refusal_quotes_what_a_payer_is_called():
    content = bill([payment(1, "1.005")], total="1.00")
    assert "oUpF8uMuAJO" not in str(refused(content)) + repr(refused(content).__context__)
    # Nor does the one of a decoder, which would carry the whole block along.
    refusal = refused(content.replace("测试商品".encode(), b"\xff"))
    assert refusal.line == 2
    assert refusal.__context__ is None


# --- any bytes -------------------------------------------------------------------------


def test_a_bill_that_was_changed_anywhere_is_read_or_refused():
    whole = bill([payment(1, "1.23"), refund(1), payment(2, "4.56")])
    choose = random.Random(20261123)
    for _ in range(3_000):
        changed = bytearray(whole)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(changed))
            changed[at : at + choose.choice([0, 1, 5])] = bytes(
                choose.choice(b"`,\r\n\x00\xff.-0019") for _ in range(choose.randint(0, 3))
            )
        try:
            found = rows(bytes(changed))
        except BadBill:
            continue
        assert sum(row.hundredths for row in found) == 579
