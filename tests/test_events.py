"""Outcomes, events, and the one line each leaves in the log."""

from __future__ import annotations

import logging

import pytest

from wxnotify import Event, Outcome
from wxnotify._events import log

STATUS = {
    "handled": 200,
    "queued": 200,
    "duplicate": 200,
    "in_progress": 503,
    "lost": 503,
    "conflict": 500,
    "rejected": 400,
    "probe": 401,
    "handler_failed": 500,
    "store_down": 503,
}


def logged(
    event: Event, caplog: pytest.LogCaptureFixture, error: BaseException | None = None
) -> logging.LogRecord:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "wxnotify"):
        log(logging.getLogger("wxnotify"), event, error)
    (record,) = caplog.records
    return record


def test_only_what_is_durably_done_is_success_and_has_status_200() -> None:
    assert {outcome.value: outcome.status for outcome in Outcome} == STATUS
    assert [outcome for outcome in Outcome if outcome.success] == [
        Outcome.HANDLED,
        Outcome.QUEUED,
        Outcome.DUPLICATE,
    ]
    assert {outcome.success for outcome in Outcome if outcome.status == 200} == {True}


@pytest.mark.parametrize(
    ("outcome", "code", "level"),
    [
        (Outcome.HANDLED, "handled", "INFO"),
        (Outcome.QUEUED, "queued", "INFO"),
        (Outcome.QUEUED, "not_handed_over", "WARNING"),
        (Outcome.DUPLICATE, "duplicate", "INFO"),
        (Outcome.IN_PROGRESS, "in_progress", "INFO"),
        (Outcome.LOST, "lost", "WARNING"),
        (Outcome.CONFLICT, "conflict", "ERROR"),
        (Outcome.HANDLER_FAILED, "handler_failed", "ERROR"),
        (Outcome.HANDLER_FAILED, "not_committed", "ERROR"),
        (Outcome.STORE_DOWN, "store_down", "ERROR"),
        (Outcome.REJECTED, "method_not_allowed", "DEBUG"),
        (Outcome.PROBE, "signature_probe", "INFO"),
        (Outcome.REJECTED, "bad_signature", "WARNING"),
        (Outcome.REJECTED, "dtd_forbidden", "WARNING"),
        (Outcome.REJECTED, "unknown_order", "WARNING"),
        (Outcome.REJECTED, "unknown_merchant", "WARNING"),
        # Authentic and does not fit: somebody must look.
        (Outcome.REJECTED, "ambiguous_signature", "ERROR"),
        (Outcome.REJECTED, "amount_mismatch", "ERROR"),
        (Outcome.REJECTED, "merchant_mismatch", "ERROR"),
        (Outcome.REJECTED, "transaction_mismatch", "ERROR"),
        (Outcome.REJECTED, "expectation_failed", "ERROR"),
        (Outcome.REJECTED, "no_handler", "ERROR"),
    ],
)
def test_the_level_says_whether_somebody_must_look(
    outcome: Outcome, code: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert logged(Event(outcome, code, 500), caplog).levelname == level


def test_an_answer_over_the_budget_is_a_warning_and_an_alert_stays_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    late = Event(Outcome.HANDLED, "handled", 200, over_budget=True)
    assert logged(late, caplog).levelname == "WARNING"
    late = Event(Outcome.CONFLICT, "conflict", 500, over_budget=True)
    assert logged(late, caplog).levelname == "ERROR"


def test_a_record_is_one_line_of_names_and_values_and_carries_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = Event(
        Outcome.HANDLED,
        "handled",
        200,
        kind="payment",
        mch_id="1900000109",
        out_trade_no="A-1001",
        transaction_id="42",
        paid=True,
        key_index=1,
        attempts=2,
        seconds=0.0123,
        handler_seconds=0.01,
    )
    record = logged(event, caplog)
    assert record.getMessage() == (
        "handled code=handled status=200 kind=payment mch_id=1900000109 out_trade_no=A-1001 "
        "transaction_id=42 paid=True key_index=1 attempts=2 seconds=0.012 handler_seconds=0.010"
    )
    assert record.wxnotify is event  # type: ignore[attr-defined]
    assert not record.exc_info


def test_that_a_payment_failed_and_which_key_matched_is_said_though_it_is_false_or_zero(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = logged(Event(Outcome.HANDLED, "handled", 200, paid=False, key_index=0), caplog)
    assert "paid=False key_index=0" in record.getMessage()


def test_what_there_is_nothing_to_say_of_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(Event(Outcome.REJECTED, "bad_signature", 401), caplog)
    assert record.getMessage() == "rejected code=bad_signature status=401 seconds=0.000"


def test_a_refused_body_is_named_by_length_and_digest(caplog: pytest.LogCaptureFixture) -> None:
    event = Event(Outcome.REJECTED, "malformed", 400, "not XML", body_bytes=7, body_sha256="ab" * 32)
    assert logged(event, caplog).getMessage() == (
        "rejected code=malformed status=400 detail=not XML seconds=0.000 body_bytes=7 "
        f"body_sha256={'ab' * 32}"
    )


def test_the_merchants_own_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("out of stock")
    record = logged(Event(Outcome.HANDLER_FAILED, "handler_failed", 500), caplog, error)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_percent_signs_in_a_detail_are_not_formatted(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(Event(Outcome.REJECTED, "malformed", 400, "100%s %d {0}"), caplog)
    assert "100%s %d {0}" in record.getMessage()
