"""What every test runs under."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from wxnotify import _wire

settings.register_profile(
    "wxnotify", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wxnotify")


@pytest.fixture
def expat_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What expat is given: one entry a call."""
    calls: list[dict[str, Any]] = []
    create = _wire.ParserCreate

    class Spy:
        def __init__(self, encoding: str | None = None) -> None:
            self.__dict__.update(parser=create(encoding), encoding=encoding)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self.parser, name, value)

        def Parse(self, data: bytes, final: bool) -> int:
            buffered = self.parser.buffer_text
            calls.append(
                {"bytes": len(data), "final": final, "encoding": self.encoding, "buffered": buffered}
            )
            return self.parser.Parse(data, final)

    monkeypatch.setattr(_wire, "ParserCreate", Spy)
    return calls
