"""
Compare WeChat Pay's trade bill of a day with what the store has settled.

WeChat Pay sends a notification for 24 hours, and then no more. What was lost by
then, because a server was down, a handler failed to the end or an address was
wrong, is in the bill and not in the store. And what is in the store and in no bill
is an order that was shipped without money.

    with reconcile("20261123.csv", store) as report:
        for finding in report:
            print(finding.problem, finding.out_trade_no)

Only payments are compared; refunds are counted. How it is done, and what it cannot
see, is in ``docs/reconcile.md``.
"""

from __future__ import annotations

from ._bill_lines import BillSource
from ._findings import Finding, Problem, Progress, Report
from ._reconciling import SLACK_SECONDS, reconcile, reconcile_async

__all__ = [
    "SLACK_SECONDS",
    "BillSource",
    "Finding",
    "Problem",
    "Progress",
    "Report",
    "reconcile",
    "reconcile_async",
]
