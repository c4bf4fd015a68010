"""One plain sentence for each code a delivery can end with."""

from __future__ import annotations

import inspect
from typing import Final

from .. import Outcome, errors

_OUTCOMES: Final = {
    Outcome.HANDLED: "settled: the handler ran, and its completion is recorded",
    Outcome.DUPLICATE: "settled before; nothing was done again",
    Outcome.IN_PROGRESS: "somebody holds it: a handler at work, or a dead one whose lease has not run out",
    Outcome.LOST: "the handler outlived its lease and another delivery took over",
    Outcome.CONFLICT: "the same payment was told before with other content: somebody must look",
    Outcome.REJECTED: "refused",
    Outcome.HANDLER_FAILED: "the handler raised, and nothing of its transaction was kept",
    Outcome.STORE_DOWN: "the store did not answer; it will be sent again",
}


def meaning(code: str) -> str:
    """Say what a code means; empty if it is not one of this library's."""
    for outcome, sentence in _OUTCOMES.items():
        if outcome.value == code:
            return sentence
    for name in errors.__all__:
        refusal = getattr(errors, name)
        if refusal.code == code:
            # The refusals explain themselves in the first line of their docstring.
            first, *_ = (inspect.getdoc(refusal) or "").split("\n")
            return first.replace("``", "").rstrip(".")
    return ""
