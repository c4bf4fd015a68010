"""What a request must be before its body is read."""

from __future__ import annotations

import pytest

from wxnotify._request import check_request, check_size

from .support import code_of


@pytest.mark.parametrize(
    ("method", "encoding", "length", "announced"),
    [
        ("POST", None, None, None),
        ("POST", "", "", None),
        ("POST", "identity", "0", 0),
        ("POST", " Identity ", "100", 100),
        ("POST", None, "007", 7),
        ("POST", None, "0000000000000100", 100),
    ],
)
def test_a_post_of_a_plain_body_is_let_through(
    method: str, encoding: str | None, length: str | None, announced: int | None
) -> None:
    assert check_request(method, encoding, length, 100) == announced


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "post", "Post", "POST ", "", "DELETE", "\r\n"])
def test_any_other_method_is_refused(method: str) -> None:
    assert code_of(check_request, method, None, None, 100) == "method_not_allowed"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "identity, identity", " "])
def test_a_compressed_body_is_refused(encoding: str) -> None:
    assert code_of(check_request, "POST", encoding, "1", 100) == "content_encoding_forbidden"


@pytest.mark.parametrize(
    "length",
    ["-1", "+1", "1.0", "1e3", "0x10", "1_0", " 1", "1\n", "1, 1", "\u0661", "\u00b2", "\uff11", "9" * 17],
)
def test_a_length_that_is_no_plain_number_is_refused(length: str) -> None:
    assert code_of(check_request, "POST", None, length, 100) == "incomplete_body"


@pytest.mark.parametrize("length", ["101", "65537", "9" * 16])
def test_a_length_over_the_limit_is_refused(length: str) -> None:
    assert code_of(check_request, "POST", None, length, 100) == "too_large"


def test_the_method_is_looked_at_first_and_the_encoding_before_the_length() -> None:
    assert code_of(check_request, "GET", "gzip", "-1", 100) == "method_not_allowed"
    assert code_of(check_request, "POST", "gzip", "-1", 100) == "content_encoding_forbidden"


def test_a_body_at_the_limit_is_let_through_and_one_byte_more_is_not() -> None:
    check_size(100, 100)
    assert code_of(check_size, 101, 100) == "too_large"
