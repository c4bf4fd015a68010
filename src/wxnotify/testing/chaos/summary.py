"""The end of a run in figures: for a person, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Final

from ...cli.terminal import Terminal
from .plan import Plan
from .points import LEASE_NAMES, NAMES
from .supervisor import Supervisor
from .tally import CODES, Tally
from .verdict import Verdict

#: What the codes mean; the others speak for themselves.
_MEANING: Final = {
    "handled": "told SUCCESS, handled",
    "duplicate": "told SUCCESS, handled before",
    "other": "told something else",
    "escaped": "ended in an exception",
}
_WHY: Final = {
    "killed": "the earlier holder was killed before its completion was recorded",
    "late": "the earlier holder outlived its lease, or the store did not answer",
}
_NAME: Final = 44
#: Lines of the processes' complaints that are shown.
_COMPLAINTS: Final = 30


class Summary:
    """
    What came of a run.

    Args:
        plan: Its settings.

        version: Of what stored.

        seconds: How long it took.

        tally: The shared memory.

        supervisor: Who knows the kills and stops.

        verdict: The effects, counted.
    """

    def __init__(
        self,
        plan: Plan,
        version: str,
        seconds: float,
        tally: Tally,
        supervisor: Supervisor,
        verdict: Verdict,
    ) -> None:
        self._plan = plan
        self._version = version
        self._seconds = seconds
        self._codes = tally.codes()
        self._cut = tally.started() - self._codes.total()
        self._supervisor = supervisor
        self._verdict = verdict
        self._complaints = [*verdict.complaints, *supervisor.failures]

    @property
    def held(self) -> bool:
        """Whether the promise held."""
        return not self._complaints

    def show(self, terminal: Terminal, errors: str) -> None:
        """
        Print it.

        Args:
            terminal: Where to.

            errors: What the processes complained of.
        """
        plan, verdict, kills = self._plan, self._verdict, self._supervisor.kills
        seconds = self._seconds

        def row(name: str, number: int, note: str = "", indent: int = 2) -> None:
            terminal.line(f"{' ' * indent}{name:<{_NAME - indent}}{number:>12,}  {note}".rstrip())

        how = "on event loops" if plan.asynchronous else "in threads"
        terminal.heading(f"{_scheme(plan)}, {plan.mode}, delivered {how}, {seconds / 60:.1f} minutes")
        row("deliveries", self._deliveries, f"{self._deliveries / seconds:,.0f}/s")
        for code in CODES:
            if self._codes[code]:
                row(_MEANING.get(code, f"told FAIL, {code}"), self._codes[code], indent=4)
        row("cut off by a kill", self._cut, indent=4)
        row("of these, of a payment sent before", self._deliveries - verdict.payments)
        row("kills", kills.total(), f"{kills.total() / seconds:.1f}/s")
        for point, name in (LEASE_NAMES if plan.mode == "lease" else NAMES).items():
            if kills[point]:
                row(name, kills[point], indent=4)
        row("processes stopped past the lease", self._supervisor.stops)
        row("server stops", self._supervisor.outages.count)
        row("payments", verdict.payments)
        row("effects", verdict.effects)
        row("doubles", verdict.doubles)
        for why, times in verdict.explained.items():
            row(f"allowed by a lease, {why}", times, _WHY[why], indent=4)
        row("losses", verdict.losses)
        terminal.line()
        terminal.line(f"  {self._version}")
        terminal.line(f"  {machine()}; seed {plan.seed}")
        terminal.line(
            f"  {plan.processes} processes of {plan.threads}, lease {plan.lease:g} s"
            + (f", with the mistake {plan.mistake}" if plan.mistake else "")
        )
        terminal.line()
        if self.held:
            terminal.line(f"  {terminal.paint('✓', 'green')} {self._promise()}")
        for complaint in self._complaints:
            terminal.line(f"  {terminal.paint('✗', 'red')} {complaint}")
        if not self.held and errors:
            terminal.heading("What the processes said last")
            for line in errors.splitlines()[-_COMPLAINTS:]:
                terminal.line(line)

    def json(self) -> str:
        """Give it as JSON."""
        plan, verdict, supervisor = self._plan, self._verdict, self._supervisor
        return json.dumps(
            {
                "store": _scheme(plan),
                "version": self._version,
                "mode": plan.mode,
                "async": plan.asynchronous,
                "mistake": plan.mistake,
                "seconds": round(self._seconds, 1),
                "seed": plan.seed,
                "machine": machine(),
                "processes": plan.processes,
                "threads": plan.threads,
                "lease": plan.lease,
                "deliveries": self._deliveries,
                "deliveries_by_code": {code: self._codes[code] for code in CODES},
                "deliveries_cut_off": self._cut,
                "deliveries_of_a_payment_sent_before": self._deliveries - verdict.payments,
                "kills": supervisor.kills.total(),
                "kills_by_point": {point.name.lower(): supervisor.kills[point] for point in NAMES},
                "process_stops": supervisor.stops,
                "server_stops": supervisor.outages.count,
                "payments": verdict.payments,
                "effects": verdict.effects,
                "doubles": verdict.doubles,
                "doubles_allowed_by_a_lease": dict(verdict.explained),
                "losses": verdict.losses,
                "complaints": self._complaints,
                "held": self.held,
            },
            indent=2,
        )

    @property
    def _deliveries(self) -> int:
        return self._codes.total() + self._cut

    def _promise(self) -> str:
        if self._plan.mode == "same-transaction":
            return f"every one of {self._verdict.payments:,} payments had its effect exactly once"
        return "no payment was lost, and no effect was doubled but where the lease promise allows it"


def _scheme(plan: Plan) -> str:
    return plan.store.partition("://")[0]  # not the rest, which may hold a password


def machine() -> str:
    """Say what this runs on."""
    return (
        f"{os.cpu_count()} CPUs{_model()}, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next(
        (f" ({line.partition(':')[2].strip()})" for line in lines if line.startswith("model name")), ""
    )
