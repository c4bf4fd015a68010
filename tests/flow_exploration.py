"""Go through every world of ``flow_model.py`` that can be reached, and tell how a promise can be broken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from wxnotify._flow import Settled
from wxnotify.idempotency import Row

from .flow_model import (
    CHANGED_AGAIN_FOR_A_REASON,
    FINGERPRINTS,
    IT_HEALS,
    LEASE,
    Action,
    Delivery,
    Setup,
    World,
)

State = tuple[Any, ...]
Path = tuple[Action, ...]


class Explored(NamedTuple):
    """What was found."""

    worlds: int
    steps: int
    #: Each promise that can be broken, with the fewest steps that lead there.
    broken: dict[str, Path]


def explore(world: type[World], setup: Setup) -> Explored:
    """Go through every world that can be reached, those that take fewer steps first."""
    first = world(setup).state
    came_from: dict[State, tuple[State, Action] | None] = {first: None}
    todo = deque([first])
    broken: dict[str, Path] = {}
    steps = 0
    heals = healer(world, setup)
    while todo:
        state = todo.popleft()
        before = world(setup, state)
        if not heals(before.row, before.changes):
            broken.setdefault(IT_HEALS, _path(came_from, state))
        for action in before.actions():
            after = world(setup, state)
            after.do(action)
            steps += 1
            for promise in after.broken_by(action, before):
                broken.setdefault(promise, (*_path(came_from, state), action))
            if (new := after.state) not in came_from:
                came_from[new] = (state, action)
                todo.append(new)
    return Explored(len(came_from), steps, broken)


def _path(came_from: dict[State, tuple[State, Action] | None], state: State) -> Path:
    path: list[Action] = []
    while came := came_from[state]:
        state, action = came
        path.append(action)
    return tuple(reversed(path))


def healer(world: type[World], setup: Setup) -> Callable[[Row | None, int], bool]:
    """
    Give a function that tells whether a world heals, by its row and how often the order was changed.

    All deliveries are gone, nothing of theirs arrives any more, and a lease's time passes. Then the next
    delivery must be told SUCCESS if it is of the row's content, and FAIL if it is not; each in a few steps.
    """

    @cache
    def heals(row: Row | None, changes: int) -> bool:
        later = row and row._replace(lease_until=row.lease_until - LEASE)
        return all(settles(content, later, changes) for content in set(setup.deliveries))

    def settles(content: str, row: Row | None, changes: int) -> bool:
        calm = setup._replace(deliveries=content, faults=0, expiries=0)
        delivery = Delivery(world.flows.begin(content, setup.queue))
        here, goes_on = world(calm, (row, changes, 0, 0, 0, [delivery])), Action("goes on", 0)
        for _ in range(20):
            if isinstance(here.reached(0), Settled):
                break
            before = world(calm, here.state)
            here.do(goes_on)
            # Without a transaction it may change the order again: the last handler had perhaps done so.
            if set(here.broken_by(goes_on, before)) - {CHANGED_AGAIN_FOR_A_REASON}:
                return False
        return here.succeeded(0) is (row is None or row.fingerprint == FINGERPRINTS[content])

    return heals


def told_broken(world: type[World], setup: Setup, broken: dict[str, Path]) -> str:
    """Tell how promises can be broken, for a person to read."""
    stories = [[f"broken: {promise}", *told(world, setup, path)] for promise, path in broken.items()]
    return "\n\n".join("\n    ".join(story) for story in stories)


def told(world: type[World], setup: Setup, path: Path) -> list[str]:
    """Tell a path, one line a step; the deliveries are called A, B, C and so on."""
    here, names = world(setup), "ABCDEFGH"
    lines: list[str] = []
    for action in path:
        # As the exploration does, which puts its deliveries in order before each step.
        order = sorted(range(len(here.deliveries)), key=lambda n: here.deliveries[n])
        names = "".join(names[n] for n in order)
        here = world(setup, here.state)
        lines.append(_told_step(here, action, names))
    return lines


def _told_step(here: World, action: Action, names: str) -> str:
    what, n, arriving = action
    if n is None:
        step = what
    elif arriving is not None:
        step = f"{names[n]}: {arriving.verb} {what}"
    else:
        step = f"{names[n]}: {type(here.reached(n)).__name__} {what}"
    here.do(action)
    if n is not None and isinstance(ended := here.reached(n), Settled):
        step += f", and ends as {ended.outcome.value}"
    stored = "no row"
    if here.row:
        owner = next((names[n] for n, one in enumerate(here.deliveries) if one.owns), "nobody here")
        stored = f"{here.row.state.value}, generation {here.row.generation}, owner {owner}"
    return f"{step} -> {stored}; changes: {here.changes}"
