"""Every store that completes inside the caller's transaction, run through the suite for those."""

from __future__ import annotations

import pytest

from wxnotify.testing.store_conformance.inbox import *  # noqa: F403
from wxnotify.testing.store_conformance.same_transaction import *  # noqa: F403

from .subjects import SUBJECTS

TRANSACTIONAL = [entry for entry in SUBJECTS if entry.promise == "same-transaction"]


@pytest.fixture(params=TRANSACTIONAL, ids=[entry.name for entry in TRANSACTIONAL])
def subject(request, tmp_path):
    with request.param.open(tmp_path) as subject:
        yield subject
