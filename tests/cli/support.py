"""Keys and servers of the command's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wxnotify.cli.server_process import ServerProcess

SHOP_KEY = "shop0123456789abcdefghijklmnopqr"
OTHER_KEY = "other0123456789abcdefghijklmnopq"
APIV3_KEY = "apiv3-0123456789abcdefghijklmnop"


@contextmanager
def serving(database, *arguments: str, **environment: str) -> Iterator[ServerProcess]:
    """Run ``wxnotify serve`` on a free port; it is stopped at the end whatever happens."""
    variables = {**os.environ, "WXNOTIFY_KEY": SHOP_KEY, **environment}
    with ServerProcess(["--port", "0", "--database", str(database), *arguments], variables) as server:
        yield server
