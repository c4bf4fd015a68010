"""Every store of this library, run through the suite that any store can run on itself."""

from __future__ import annotations

import pytest

from wxnotify.testing.store_conformance import *  # noqa: F403

from .subjects import SUBJECTS


@pytest.fixture(params=SUBJECTS, ids=[entry.name for entry in SUBJECTS])
def subject(request, tmp_path):
    with request.param.open(tmp_path) as subject:
        yield subject
