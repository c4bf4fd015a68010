"""What a run is asked to do."""

from __future__ import annotations

from typing import Literal, NamedTuple

Mode = Literal["same-transaction", "lease"]


class Plan(NamedTuple):
    """The settings of a run; durations in seconds."""

    store: str
    mode: Mode
    #: Deliver on event loops, with :meth:`wxnotify.Receiver.receive_async`.
    asynchronous: bool
    seconds: float
    processes: int
    #: Deliveries at a time in each process.
    threads: int
    #: How often a payment is delivered on average.
    repeats: float
    lease: float
    #: How long a delivery waits for another one of its payment.
    wait: float
    kills_per_second: float
    #: Which share of handlers fails by itself before its write, and of those in a transaction after it.
    fails: float
    #: On average between two stops of a process, and between two stops of the server.
    stop_every: float
    server_every: float
    seed: int
    #: The mistake to make, to see it found out; none if empty.
    mistake: str
    #: Ten digits that no other run has: part of every transaction's id.
    run: str
