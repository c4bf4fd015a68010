"""APIv3 vectors with known verdicts; tests/vectors/README.md says how they were made."""

from __future__ import annotations

import json

import pytest

from wxnotify import NotifyError
from wxnotify.apiv3 import APIv3, PlatformKey
from wxnotify.testing.apiv3 import Posted, platform_keys

from ..support import either
from ..test_vectors import OWN
from .posting import merchant, opened

# --- our own --------------------------------------------------------------------------

FILE = json.loads((OWN / "apiv3.json").read_text(encoding="utf-8"))
VECTORS = [pytest.param(one, id=one["id"]) for one in FILE["vectors"]]
PLATFORM = [
    PlatformKey.from_public_key(serial, pem)
    if serial.startswith("PUB_KEY_ID_")
    else PlatformKey.from_certificate(pem)
    for serial, pem in FILE["platform"].items()
]


@pytest.mark.parametrize("vector", VECTORS)
def test_a_notification_opens_or_is_refused_as_its_verdict_says(vector):
    shop = merchant(APIv3(vector["api_v3_key"], PLATFORM))
    posted = Posted(vector["headers"], vector["body"].encode())
    read = either(lambda: opened(posted, shop, now=vector["clock"]))
    if vector["verdict"] == "valid":
        assert dict(read) == vector["reads"]
        assert read.serial == vector["headers"]["Wechatpay-Serial"]
    else:
        assert isinstance(read, NotifyError)
        assert read.code == vector["verdict"]


def test_the_vectors_are_there_and_each_has_a_name_of_its_own():
    ids = [one.values[0]["id"] for one in VECTORS]
    assert len(set(ids)) == len(ids) > 40
    assert all(one.values[0]["note"] for one in VECTORS)
    assert tuple(FILE["platform"]) == tuple(key.serial for key in platform_keys())
