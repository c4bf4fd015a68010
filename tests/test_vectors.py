"""Signatures and bodies with known verdicts; tests/vectors/README.md says how they were made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from wxnotify import Key, NotifyError, Payment, parse, sign, verify

from .support import either, reference_sign, string_to_sign

OWN = Path(__file__).resolve().parent / "vectors"
SHARED = Path(
    os.environ.get("WXNOTIFY_SHARED_VECTORS") or Path(__file__).resolve().parents[2] / "shared" / "vectors"
)


def entries(folder: Path, name: str) -> list[Any]:
    """Read a file of vectors; none where the folder is absent, which is no reason to skip the others."""
    file = folder / name
    found: list[Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [pytest.param(one, id=f"{folder.parent.name}-{one['id']}") for one in found]


def shared(name: str) -> list[Any]:
    return [one for one in entries(SHARED, name) if one.values[0]["verified"]]


def uniform(vector: dict[str, Any]) -> dict[str, Any]:
    """Give a shared signing vector the names of our own."""
    return {**vector, "fields": vector["params"], "verdict": "valid"} if "params" in vector else vector


OWN_SIGN = entries(OWN, "sign.json")
OWN_NOTIFICATIONS = entries(OWN, "notifications.json")


@pytest.mark.parametrize("vector", [*OWN_SIGN, *shared("v2_sign.json")])
def test_fields_and_key_give_the_signature(vector):
    vector = uniform(vector)
    made = sign(vector["fields"], Key(vector["key"], any_length=True), vector["alg"])
    assert (made == vector["expected"]) is (vector["verdict"] == "valid")


@pytest.mark.parametrize("vector", [*OWN_SIGN, *shared("v2_sign.json")])
def test_the_rule_written_out_agrees_with_the_vector(vector):
    vector = uniform(vector)
    text = string_to_sign(vector["fields"], vector["key"])
    valid = vector["verdict"] == "valid"
    assert (text == vector["string_to_sign"]) is (valid or vector["id"] == "md5-lower-case")
    assert (reference_sign(vector["fields"], vector["key"], vector["alg"]) == vector["expected"]) is valid


@pytest.mark.parametrize("vector", OWN_SIGN)
def test_a_signature_is_verified_as_its_verdict_says(vector):
    fields = {**vector["fields"], "sign": vector["expected"]}
    if "sign_type" in fields and fields["sign_type"] != vector["alg"]:
        expected = "bad_sign_type"
    elif vector["verdict"] == "valid":
        expected = vector["alg"]
    else:
        expected = "malformed_signature" if vector["expected"].islower() else "bad_signature"
    verified = either(verify, fields, vector["key"])
    assert (verified.code if isinstance(verified, NotifyError) else verified.sign_type) == expected


@pytest.mark.parametrize("vector", OWN_NOTIFICATIONS)
def test_a_body_is_read_or_refused_as_its_verdict_says(vector):
    read = either(lambda: Payment.from_verified(verify(parse(vector["body"].encode()), vector["key"])))
    if isinstance(read, NotifyError):
        assert read.code == vector["verdict"]
    else:
        assert read.paid is (vector["verdict"] == "paid")
        assert {name: getattr(read, name) for name in vector["reads"]} == vector["reads"]


ACCEPTED = [one for one in OWN_NOTIFICATIONS if "reads" in one.values[0]]


@pytest.mark.parametrize("vector", [*ACCEPTED, *shared("v2_notifications.json")])
def test_an_authentic_body_is_verified_whole(vector):
    fields = parse(vector["body"].encode())
    verified = verify(fields, Key(vector["key"], any_length=True))
    assert dict(verified) == {name: value for name, value in fields.items() if value and name != "sign"}
    assert fields == vector.get("fields", fields)
    assert reference_sign(fields, vector["key"], verified.sign_type) == fields["sign"]


def test_the_vectors_are_there_and_each_has_a_name_of_its_own():
    for own in (OWN_SIGN, OWN_NOTIFICATIONS):
        assert len(own) > 30
        assert len({one.values[0]["id"] for one in own}) == len(own)
        assert all(one.values[0]["kind"] and one.values[0]["note"] for one in own)
