"""``wxnotify send``, at a real server and at ones that misbehave."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager

import pytest

from wxnotify import build_reply, cli, parse, verify
from wxnotify.cli import send

from .support import OTHER_KEY, SHOP_KEY, serving


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "shop.db", "--order", "A-1001=100", "A-1002=100") as server:
        yield server


def test_a_payment_is_told_success_and_sending_again_is_a_duplicate(server, output):
    assert cli.main(["send", server.url]) == 0
    assert cli.main(["send", server.url]) == 0
    assert server.events(2) == ["handled", "duplicate"]
    assert "200 SUCCESS  OK" in output()


def test_copies_at_the_same_time_are_handled_once(server, output):
    assert cli.main(["send", server.url, "--duplicates", "7", "--concurrent"]) == 0
    assert sorted(server.events(8)) == ["duplicate"] * 7 + ["handled"]
    assert output().count("200 SUCCESS") == 8


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
@pytest.mark.parametrize("more", [[], ["--with-sign-type"], ["--attach", "a & b 中文"]])
def test_every_way_of_signing_is_accepted(server, output, sign_type, more):
    assert cli.main(["send", server.url, "--sign-type", sign_type, *more]) == 0
    assert sign_type in output()


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("--forged", "bad_signature"),
        ("--wrong-amount", "amount_mismatch"),
        ("--out-trade-no=A-9999", "unknown_order"),
    ],
)
def test_what_must_be_refused_is_refused(server, output, option, code):
    assert cli.main(["send", server.url, option]) == 1
    assert server.events(1) == [code]
    assert f"FAIL  {code}" in output()


def test_a_failed_payment_is_acknowledged_and_can_still_be_paid(server, output):
    assert cli.main(["send", server.url, "--failed"]) == 0
    assert cli.main(["send", server.url]) == 0
    assert server.events(2) == ["handled", "handled"]
    assert "failed payment of A-1001" in output()


def test_forging_needs_no_key(server, output, monkeypatch):
    monkeypatch.delenv("WXNOTIFY_KEY")
    assert cli.main(["send", server.url, "--forged"]) == 1
    assert "bad_signature" in output()


def test_the_key_is_read_from_a_file(server, tmp_path, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", OTHER_KEY)
    file = tmp_path / "key"
    file.write_text(SHOP_KEY + "\n")
    assert cli.main(["send", server.url, "--key-file", str(file)]) == 0
    assert "SUCCESS" in output()


# --- endpoints that misbehave ----------------------------------------------------


@contextmanager
def answering(status: int, body: bytes, **headers: str):
    """Run an endpoint that gives one answer; yields its address and the bodies it got."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/pay/notify", got
        finally:
            server.shutdown()
            thread.join()


def test_what_is_sent_is_signed_with_the_key_and_has_the_given_values(output):
    with answering(200, build_reply().body) as (url, got):
        values = ["--out-trade-no", "B-7", "--total-fee", "8800", "--transaction-id", "42"]
        assert cli.main(["send", url, *values]) == 0
    fields = verify(parse(got[0]), SHOP_KEY)
    assert (fields["out_trade_no"], fields["total_fee"], fields["transaction_id"]) == ("B-7", "8800", "42")
    output()


@pytest.mark.parametrize("body", [b"", b"ok", b'{"return_code":"SUCCESS"}', b"<html>hello</html>"])
def test_an_answer_wechat_pay_does_not_understand_is_no_success(output, body):
    with answering(200, body) as (url, _):
        assert cli.main(["send", url]) == 1
    assert "not an answer WeChat Pay understands" in output()


def test_success_with_another_status_is_no_success(output):
    with answering(202, build_reply().body) as (url, _):
        assert cli.main(["send", url]) == 1
    assert "SUCCESS goes with status 200 alone" in output()


def test_a_redirect_is_not_followed(output):
    with answering(200, build_reply().body) as (target, got):
        with answering(307, b"", Location=target) as (url, _):
            assert cli.main(["send", url]) == 1
        assert got == []
    assert "307" in output()


def test_a_server_that_does_not_answer_in_time_is_given_up(output, monkeypatch):
    monkeypatch.setattr(send, "TIMEOUT", 0.05)
    free = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            free.wait(10)
            self.close_connection = True

    with http.server.HTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert cli.main(["send", f"http://127.0.0.1:{server.server_port}/"]) == 1
        finally:
            free.set()
            server.shutdown()
            thread.join()
    assert "no answer within" in output()


def test_nobody_listening_is_said_and_is_no_success(output):
    with answering(200, b"") as (url, _):
        pass
    assert cli.main(["send", url]) == 1
    assert "Refused" in output()


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8888",
        "ftp://a/b",
        "http://",
        "http://a:b/c",
        "http://a:99999/",
        "http://a/ü",
        "http://a/\n",
    ],
)
def test_an_address_that_cannot_be_posted_to_is_refused(url, output):
    assert cli.main(["send", url]) == 2
    assert "not an http or https address" in output()


@pytest.mark.parametrize("arguments", [["--total-fee", "1", "--wrong-amount"], ["--attach", "\x01"]])
def test_a_notification_that_cannot_be_made_is_said(arguments, output):
    assert cli.main(["send", "http://127.0.0.1:1/", *arguments]) == 2
    assert "wxnotify:" in output()
