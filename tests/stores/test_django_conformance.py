"""DjangoStore, run through the suite that any store can run on itself."""

from __future__ import annotations

import pytest

from wxnotify.testing.store_conformance import *  # noqa: F403
from wxnotify.testing.store_conformance.inbox import *  # noqa: F403
from wxnotify.testing.store_conformance.same_transaction import *  # noqa: F403

pytest.importorskip("tests.django_shop.databases")  # sets Django up

from ..django_shop.databases import ALIASES
from ..django_shop.subject import open_subject
from .subjects import TIMEOUT, Trial


@pytest.fixture(params=ALIASES)
def subject(request):
    with open_subject(request.param, Trial, timeout=TIMEOUT) as subject:
        yield subject
