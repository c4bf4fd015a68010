"""What the command's tests share: no key in any output, and nothing of this machine's own configuration."""

from __future__ import annotations

import pytest

from .support import OTHER_KEY, SHOP_KEY


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("WXNOTIFY_KEY", "WXNOTIFY_APIV3_KEY", "WXNOTIFY_MCH_ID", "WXNOTIFY_APPID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WXNOTIFY_KEY", SHOP_KEY)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def output(capsys):
    """Give what was printed, after a look that there is no key in it."""

    def read() -> str:
        printed = capsys.readouterr()
        everything = printed.out + printed.err
        assert SHOP_KEY not in everything
        assert OTHER_KEY not in everything
        return everything

    return read
