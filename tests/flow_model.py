"""
A model of several deliveries of one payment, small enough to be explored whole.

A world is a store's row, what became of the order, and how far each delivery has come. From one world to
the next goes one step: a delivery carries out its next command, or something goes wrong. All worlds and all
steps are gone through in ``flow_exploration.py``.

What is the library's own: the flow (``wxnotify._flow``), which is asked for every move, and the judgement
of a claim (:func:`wxnotify.idempotency.judge`). What is modelled: the rest of a store, the merchant's
handler, time, and faults.

What can go wrong, as often as the budget lets it:

- **crash**: a process dies. What it was about to send may still arrive: now, later or never.
- **no answer**: a command is sent and no answer comes back. It may arrive now, later or never, so this is a
  store that is down, an acknowledgement that is lost, and a statement that is late by minutes.
- **fail**: the handler raises; without a transaction, before or after it has changed the order.
- **forgotten**: a commit is acknowledged and did not happen.
- **a lease runs out** while its holder lives and goes on.

And a handler may prolong its lease at any time, as a heartbeat would.

Times are relative to the present, so that worlds that differ only in the hour are one. So are those that
differ only in which delivery is which.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from wxnotify import Expected
from wxnotify._flow import (
    Command,
    Complete,
    DoClaim,
    Expect,
    Find,
    Handle,
    Handled,
    HandOver,
    Release,
    Settled,
    Sleep,
    settle,
)
from wxnotify.errors import ClaimLost, StoreUnavailable
from wxnotify.idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    Row,
    State,
    judge,
)
from wxnotify.testing import payment

LEASE = 30.0
#: The same transaction, told with two amounts: one key, and two contents.
CONTENTS = {"a": payment(), "b": payment(total_fee="8800")}
KEY = CONTENTS["a"].key
FINGERPRINTS = {content: told.fingerprint for content, told in CONTENTS.items()}
assert {told.key for told in CONTENTS.values()} == {KEY}
#: To a delivery, the owner in the row is itself or another.
ME, ANOTHER = b"m" * 16, b"a" * 16
EXPECTED = Expected(100)
#: A deadline after which a flow has asked twice for a claim that another holds.
TWO_LOOKS = 0.06
WHEN = datetime(2026, 1, 1, tzinfo=timezone.utc)
#: Instead of a flow's number: its process died.
CRASHED = -1
INSIDE = Handled(inside=True)

# What is promised.
DONE_IS_FINAL = "a row that is done never changes again"
GENERATIONS_RISE = "a generation never falls, and no row vanishes"
FINGERPRINT_STAYS = "the fingerprint is written once"
HOLDER_UNDISTURBED = "while a lease runs, nobody but its holder changes the row"
ONE_OWNER = "at most one delivery has a lease that has not run out"
SUCCESS_MEANS_DONE = "SUCCESS is told only for this very content, and only once it is durably done"
DONE_MEANS_CHANGED = "what is done has changed the order"
CHANGED_ONCE = "the order is changed once, and exactly if the row is done"
CHANGED_AGAIN_FOR_A_REASON = "the order is changed again only if a lease ran out or the handler failed late"
IT_HEALS = "once nothing goes wrong any more, the next delivery settles it"


class Setup(NamedTuple):
    """What there is, and how much may go wrong."""

    #: The content of each delivery: "aab" are two that tell of one amount, and one of another.
    deliveries: str
    #: Whether the order and the completion are changed in one transaction.
    transaction: bool = True
    #: Whether that change is to put the notification into the inbox.
    queue: bool = False
    faults: int = 1
    expiries: int = 1
    #: How wrong the clock of each delivery's machine is, in seconds.
    clocks: tuple[float, ...] = ()


class Flows:
    """
    What the library's flow does next, by what it has been told.

    Nothing but that decides it, so each history is played once, and has a number from then on. Two of them
    have the same number if they leave the generator in the same place with the same variables.
    """

    def __init__(self) -> None:
        self._next: dict[Any, int] = {}
        self._numbers: dict[Any, int] = {}
        self._histories: list[tuple[Any, ...]] = []
        #: What the flow of this number waits for, or what came of it.
        self.reached: list[Command | Settled] = []

    def begin(self, content: str, queue: bool) -> int:
        """Give the flow of a new delivery, which is about to claim."""
        begun = (content, queue)
        if begun not in self._next:
            self._next[begun] = self._number(begun)
        return self._next[begun]

    def told(self, flow: int, answer: object) -> int:
        """Give what *flow* becomes when *answer* is sent to it, or raised in it if it is a class."""
        step = (flow, answer)
        if step not in self._next:
            self._next[step] = self._number((*self._histories[flow], answer))
        return self._next[step]

    def content(self, flow: int) -> str:
        """Give the content that *flow* is about."""
        return str(self._histories[flow][0])

    def _number(self, history: tuple[Any, ...]) -> int:
        reached, place = self.play(*history)
        if place not in self._numbers:
            self._numbers[place] = len(self.reached)
            self.reached.append(reached)
            self._histories.append(history)
        return self._numbers[place]

    def play(self, content: str, queue: bool, *answers: Any) -> tuple[Command | Settled, object]:
        """Give what the library's flow comes to, and its place there."""
        flow = settle(CONTENTS[content], _pass, _pass, now=_no_time_passes, deadline=TWO_LOOKS, queue=queue)
        try:
            command = next(flow)
            assert isinstance(command, Expect)
            command = flow.send(EXPECTED)
            for answer in answers:
                command = flow.throw(answer()) if isinstance(answer, type) else flow.send(answer)
                while isinstance(command, Sleep):
                    command = flow.send(None)
        except StopIteration as stop:
            return stop.value, stop.value.outcome
        known = (DoClaim, Handle, Complete, Release, Find, HandOver)
        assert isinstance(command, known), f"the model does not know {command}"
        place = tuple(_places(flow))
        flow.close()
        return command, place


def _pass(*_: object) -> None:
    """Check nothing: what is checked comes before the claim."""


def _no_time_passes() -> float:
    return 0.0


def _places(flow: Any) -> Iterator[tuple[object, ...]]:
    """Go through the generator and those it waits for: each one's place and variables."""
    while flow is not None:
        yield flow.gi_code, flow.gi_frame.f_lasti, frozenset(flow.gi_frame.f_locals.items())
        flow = flow.gi_yieldfrom


class Sent(NamedTuple):
    """A command on its way, whose sender no longer waits for it."""

    verb: str
    #: The fingerprint to claim with, or the generation that the sender holds.
    with_: Any


class Delivery(NamedTuple):
    """How far one delivery has come."""

    flow: int
    clock: float = 0.0
    #: Whether the row names it as the owner.
    owns: bool = False
    #: Whether it was granted a lease that, by the one true clock, has not run out, and did not give it back.
    leased: bool = False
    #: Whether its handler has changed the order and not returned yet; never in a transaction.
    changed: bool = False
    sent: tuple[Sent, ...] = ()


class Action(NamedTuple):
    """A step from one world to the next."""

    what: str
    #: Which delivery takes it; none if time does.
    n: int | None = None
    arriving: Sent | None = None


class World:
    """One moment, with a store that keeps the rules. ``state`` is all there is to it."""

    flows = Flows()

    def __init__(self, setup: Setup, state: tuple[Any, ...] | None = None) -> None:
        self.setup = setup
        if state is None:
            clocks = setup.clocks or (0.0,) * len(setup.deliveries)
            begun = [self.flows.begin(content, setup.queue) for content in setup.deliveries]
            state = (None, 0, setup.faults, setup.expiries, 0, map(Delivery, begun, clocks))
        self.row: Row | None  # its owner is in the deliveries
        self.changes: int  # how often the order was changed
        self.faults: int  # how many may still happen
        self.expiries: int
        self.late_failures: int  # how many handlers failed that had changed the order
        self.row, self.changes, self.faults, self.expiries, self.late_failures, deliveries = state
        self.deliveries: list[Delivery] = list(deliveries)

    @property
    def state(self) -> tuple[Any, ...]:
        """Everything, with the deliveries in an order that does not depend on which is which."""
        deliveries = tuple(sorted(self.deliveries))
        return (self.row, self.changes, self.faults, self.expiries, self.late_failures, deliveries)

    # --- the store: rules 1 to 5 of wxnotify.idempotency

    def now(self, n: int) -> float:
        """Read the clock for delivery *n*: the store's, which is one for all."""
        return 0.0

    def claim(self, n: int, fingerprint: bytes) -> Claim:
        """See ``Store.claim``."""
        claim = self.judge(n, fingerprint)
        if claim.outcome is ClaimOutcome.ACQUIRED:
            until = self.now(n) + LEASE
            self.row = Row(State.PENDING, fingerprint, b"", claim.generation, claim.attempts, until)
            self.deliveries = [one._replace(owns=False) for one in self.deliveries]
            self.set(n, owns=True, leased=True)
        return claim

    def judge(self, n: int, fingerprint: bytes) -> Claim:
        """Decide a claim."""
        row = self.row and self.row._replace(owner=ME if self.deliveries[n].owns else ANOTHER)
        return judge(row, key=KEY, fingerprint=fingerprint, owner=ME, now=self.now(n))

    def held(self, n: int, generation: int) -> Row | None:
        """Compare: give the row if it is still what the claim of *n* says."""
        if self.row is None or not self.deliveries[n].owns or self.row.generation != generation:
            return None
        return self.row

    def complete(self, n: int, generation: int) -> CompleteOutcome:
        """See ``Store.complete``."""
        row = self.held(n, generation)
        if row is None or row.state is State.RELEASED:
            return CompleteOutcome.LOST
        if row.state is State.DONE:
            return CompleteOutcome.ALREADY
        self.row = row._replace(state=State.DONE, lease_until=0.0)
        self.set(n, leased=False)
        return CompleteOutcome.DONE

    def release(self, n: int, generation: int) -> ReleaseOutcome:
        """See ``Store.release``."""
        row = self.held(n, generation)
        if row is None or row.state is State.DONE:
            return ReleaseOutcome.LOST
        if row.state is State.RELEASED:
            return ReleaseOutcome.ALREADY
        self.row = row._replace(state=State.RELEASED, lease_until=0.0)
        self.set(n, leased=False)
        return ReleaseOutcome.RELEASED

    def extend(self, n: int, generation: int) -> bool:
        """See ``Store.extend``."""
        row = self.held(n, generation)
        if row is None or row.state is not State.PENDING:
            return False
        self.row = row._replace(lease_until=self.now(n) + LEASE)
        self.set(n, leased=True)
        return True

    def find(self) -> Record | None:
        """See ``Store.find``."""
        if self.row is None:
            return None
        state, fingerprint, _, generation, attempts, *_ = self.row
        return Record(KEY, "", state, generation, attempts, WHEN, WHEN, WHEN, "", fingerprint, "")

    # --- the orders' database

    def change(self, n: int, generation: int) -> None:
        """Change the order, in a commit of its own."""
        self.changes += 1

    def commit(self, n: int, generation: int) -> bool:
        """Change the order and complete, in one transaction: both, or neither."""
        if self.complete(n, generation) is not CompleteOutcome.DONE:
            return False
        self.changes += 1
        return True

    # --- what can happen

    def actions(self) -> Iterator[Action]:
        """Go through what can happen next."""
        if self.expiries and self.row and self.row.state is State.PENDING and self.row.lease_until > 0:
            yield Action("a lease runs out")
        for n, delivery in enumerate(self.deliveries):
            if n and delivery == self.deliveries[n - 1]:
                continue  # one is as good as the other
            for sent in set(delivery.sent):
                yield Action("arrives", n, sent)
            command = self.reached(n)
            if command is None or isinstance(command, Settled):
                continue
            yield Action("goes on", n)
            if isinstance(command, Handle):
                yield Action("extends", n)
            if self.faults:
                yield Action("crashes", n)
                if isinstance(command, Handle):
                    yield Action("fails", n)
                    if self.setup.transaction:
                        yield Action("has no answer", n)
                        yield Action("is forgotten", n)
                else:
                    yield Action("has no answer", n)

    def reached(self, n: int) -> Command | Settled | None:
        """Give what delivery *n* waits for, or what came of it; None if it crashed."""
        flow = self.deliveries[n].flow
        return None if flow == CRASHED else self.flows.reached[flow]

    def do(self, action: Action) -> None:
        """Take one step."""
        what, n, arriving = action
        if n is None:
            assert self.row is not None
            self.expiries -= 1
            self.row = self.row._replace(lease_until=self.row.lease_until - LEASE)
            self.deliveries = [one._replace(leased=False) for one in self.deliveries]
        elif arriving is not None:
            left = list(self.deliveries[n].sent)
            left.remove(arriving)
            self.set(n, sent=tuple(left))
            getattr(self, arriving.verb)(n, arriving.with_)
        elif what == "extends":
            command = self.reached(n)
            assert isinstance(command, Handle)
            self.extend(n, command.claim.generation)
        elif what == "goes on":
            self._go_on(n)
        else:
            self.faults -= 1
            self._go_wrong(n, what)

    def _go_on(self, n: int) -> None:
        delivery, command = self.deliveries[n], self.reached(n)
        if isinstance(command, Handle):
            if self.setup.transaction:
                self._tell(n, INSIDE if self.commit(n, command.claim.generation) else ClaimLost)
            elif delivery.changed:
                self.set(n, changed=False)
                self._tell(n, Handled(inside=False))
            else:
                self.change(n, command.claim.generation)
                self.set(n, changed=True)
            return
        answer: object = None
        if isinstance(command, DoClaim):
            answer = self.claim(n, command.fingerprint)
        elif isinstance(command, Complete):
            answer = self.complete(n, command.claim.generation)
        elif isinstance(command, Release):
            answer = self.release(n, command.claim.generation)
        elif isinstance(command, Find):
            answer = self.find()
        self._tell(n, answer)

    def _go_wrong(self, n: int, what: str) -> None:
        delivery, command = self.deliveries[n], self.reached(n)
        if what in ("crashes", "has no answer") and not delivery.changed:
            self.set(n, sent=tuple(sorted((*delivery.sent, *self._sent(command)))))
        self.set(n, changed=False)
        if what == "crashes":
            self.set(n, flow=CRASHED)
        elif what == "fails":
            self.late_failures += delivery.changed
            self._tell(n, ValueError)
        elif what == "has no answer":
            self._tell(n, ConnectionError if isinstance(command, Handle) else StoreUnavailable)
        else:
            assert what == "is forgotten"
            self._tell(n, INSIDE)

    def _sent(self, command: Command | Settled | None) -> Iterator[Sent]:
        """Give what may arrive of a command that its sender does not wait for."""
        if isinstance(command, DoClaim):
            yield Sent("claim", command.fingerprint)
        elif isinstance(command, Handle):
            yield Sent("commit" if self.setup.transaction else "change", command.claim.generation)
        elif isinstance(command, Complete):
            yield Sent("complete", command.claim.generation)
        elif isinstance(command, Release):
            yield Sent("release", command.claim.generation)

    def _tell(self, n: int, answer: object) -> None:
        self.set(n, flow=self.flows.told(self.deliveries[n].flow, answer))

    def set(self, n: int, **changes: Any) -> None:
        """Change what is so of delivery *n*."""
        self.deliveries[n] = self.deliveries[n]._replace(**changes)

    # --- what must hold

    def broken_by(self, action: Action, before: World) -> Iterator[str]:
        """Go through the promises that *action* broke, which led here from *before*."""
        row, done = self.row, self.row is not None and self.row.state is State.DONE
        if before.row is not None and row != before.row:
            if before.row.state is State.DONE:
                yield DONE_IS_FINAL
            if row is None or row.generation < before.row.generation:
                yield GENERATIONS_RISE
            elif row.fingerprint != before.row.fingerprint:
                yield FINGERPRINT_STAYS
            holders = [n for n, one in enumerate(before.deliveries) if one.leased]
            if action.n is not None and holders not in ([], [action.n]):
                yield HOLDER_UNDISTURBED
        if [one.leased for one in self.deliveries].count(True) > 1:
            yield ONE_OWNER
        for n, was in enumerate(before.deliveries):
            if self.deliveries[n].flow != was.flow and self.succeeded(n):
                told = FINGERPRINTS[self.flows.content(was.flow)]
                if row is None or not done or row.fingerprint != told:
                    yield SUCCESS_MEANS_DONE
        if done and not self.changes:
            yield DONE_MEANS_CHANGED
        if self.setup.transaction:
            if self.changes != done:
                yield CHANGED_ONCE
        elif self.changes > 1 + self.late_failures + self.setup.expiries - self.expiries:
            yield CHANGED_AGAIN_FOR_A_REASON

    def succeeded(self, n: int) -> bool:
        """Tell whether WeChat Pay was told SUCCESS by delivery *n*."""
        reached = self.reached(n)
        return isinstance(reached, Settled) and reached.outcome.success
