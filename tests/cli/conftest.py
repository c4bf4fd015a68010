"""What the command's tests share: no key in any output, and nothing of this machine's own configuration."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from wxnotify import cli

from .support import APIV3_KEY, OTHER_KEY, SHOP_KEY

collect_ignore = [] if find_spec("cryptography") else ["test_encrypted.py"]


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


@pytest.fixture
def explain(tmp_path, monkeypatch, output):
    """Explain a body; give the exit code, the codes of the causes, and all that was printed."""
    monkeypatch.setenv("WXNOTIFY_APIV3_KEY", APIV3_KEY)

    def run(body: bytes, *arguments: str) -> tuple[int, list[str], str]:
        file = tmp_path / "notification.xml"
        file.write_bytes(body)
        code = cli.main(["explain", str(file), *arguments])
        printed = output()
        assert APIV3_KEY not in printed
        causes = printed.partition("\nlikely cause\n")[2].partition("\nalso\n")[0]
        return code, re.findall(r"^  ([a-z]\w+)$", causes, re.MULTILINE), printed

    return run
