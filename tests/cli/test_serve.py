"""``wxnotify serve``, as a real process on a real port."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from wxnotify import cli
from wxnotify.cli import serve
from wxnotify.cli.send import post
from wxnotify.cli.shop import Shop
from wxnotify.cli.terminal import CannotRun
from wxnotify.testing import notification

from .support import SHOP_KEY, serving


def rows(database) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT out_trade_no, transaction_id, times_paid FROM orders").fetchall()


def test_a_payment_settles_its_order_in_the_file(tmp_path):
    database = tmp_path / "shop.db"
    with serving(database, "--order", "A-1001=100") as server:
        body = notification(key=SHOP_KEY)
        assert post(server.url, body).success
        assert post(server.url, body).success
        assert server.events(2) == ["handled", "duplicate"]
    assert rows(database) == [("A-1001", "4200000000202611230000000001", 1)]


def test_what_was_done_is_remembered_by_the_next_server(tmp_path):
    body = notification(key=SHOP_KEY)
    for expected in ("handled", "duplicate"):
        with serving(tmp_path / "shop.db", "--order", "A-1001=100") as server:
            assert post(server.url, body).success
            assert server.events(1) == [expected]


def test_an_order_that_is_paid_twice_is_refused_and_reported(tmp_path):
    with serving(tmp_path / "shop.db", "--order", "A-1001=100") as server:
        assert post(server.url, notification(key=SHOP_KEY)).success
        again = post(server.url, notification(key=SHOP_KEY, transaction_id="4200000000202611230000000002"))
        assert (again.status, again.told, again.message) == (409, "FAIL", "transaction_mismatch")


def test_an_order_in_another_currency_is_compared_with_it(tmp_path):
    with serving(tmp_path / "shop.db", "--order", "A-1001=100:USD", "A-1002=100") as server:
        assert post(server.url, notification(key=SHOP_KEY)).message == "amount_mismatch"
        assert post(server.url, notification(key=SHOP_KEY, fee_type="USD")).success


def test_other_paths_and_methods_are_no_notifications(tmp_path):
    with serving(tmp_path / "shop.db") as server:
        assert post(server.url.removesuffix("/notify"), b"").status == 404
        parts = urlsplit(server.url)
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)) as connection:
            connection.request("GET", parts.path)
            assert connection.getresponse().status == 405
        assert server.events(1) == ["method_not_allowed"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_cleanly(tmp_path, number):
    with serving(tmp_path / "shop.db") as server:
        os.kill(server.pid, number)
        assert list(server.lines()) == ["stopped"]
        assert server.wait() == 0


def test_it_does_not_outlive_the_program_that_started_it(tmp_path):
    with serving(tmp_path / "shop.db") as server:
        server.stop()
        assert list(server.lines()) == ["stopped"]
        assert server.wait() == 0


def test_a_port_that_is_taken_is_said_in_words(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CannotRun, match=f"port {port}"), serving(tmp_path / "shop.db", "--port", port):
            pass


def test_without_a_key_it_does_not_start(tmp_path):
    with pytest.raises(CannotRun, match="--key-file"), serving(tmp_path / "shop.db", WXNOTIFY_KEY=""):
        pass


def test_an_order_that_is_there_with_another_amount_is_not_overwritten(tmp_path, output):
    shop = Shop(str(tmp_path / "shop.db"))
    shop.add("A-1001", 100)
    shop.close()
    database = ["--database", str(tmp_path / "shop.db")]
    assert cli.main(["serve", "--port", "0", *database, "--order", "A-1001=1"]) == 2
    assert "for 100 CNY and not 1 CNY" in output()


def test_a_file_that_is_no_database_is_left_alone(tmp_path, output):
    file = tmp_path / "precious.txt"
    file.write_text("not a database, but long enough to be one " * 40)
    before = file.read_bytes()
    assert cli.main(["serve", "--port", "0", "--database", str(file)]) == 2
    assert "precious.txt" in output()
    assert file.read_bytes() == before


@pytest.mark.parametrize("order", ["A-1001", "A-1001=1.00", "A-1001=0", "A-1001=-1", "=100", "A 1=100"])
def test_an_order_that_cannot_be_read_is_refused(order, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", "--order", order])
    assert end.value.code == 2
    assert "NUMBER=FEN" in capsys.readouterr().err


def test_other_machines_are_let_in_only_with_a_warning(capsys):
    assert serve._is_loopback("127.0.0.1")
    assert serve._is_loopback("::1")
    assert serve._is_loopback("localhost")
    assert not serve._is_loopback("0.0.0.0")
    assert not serve._is_loopback("")
    serve._warn_of_the_world("0.0.0.0")
    assert "WARNING: listening on 0.0.0.0" in capsys.readouterr().err
