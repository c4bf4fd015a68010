"""What every kind of notification has in common: it cannot be changed, travels whole, and shows no payer."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re

import pytest

from wxnotify import (
    Contract,
    Notification,
    PayAfter,
    Payment,
    PayScore,
    PlateState,
    ProfitSharing,
    Refund,
    Scan,
    Transfer,
    parse,
)
from wxnotify._events_v3 import Event
from wxnotify._notifications import digest
from wxnotify.testing import APPID, MCH_ID, notification

from .kinds import (
    COMPLAINT,
    EVENTS,
    EVERY,
    OPENID,
    PLATE,
    PROFIT_SHARING,
    SUB_MCH_ID,
    decrypted,
    event,
    resource,
    verified,
)

each = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
CLASSES = (Payment, Refund, Contract, PlateState, Scan, PayAfter, ProfitSharing, Transfer, PayScore, Event)


def slots(kind: type) -> list[str]:
    return [name for one in kind.__mro__ for name in getattr(one, "__slots__", ())]


def values(one: Notification) -> dict[str, object]:
    return {name: getattr(one, name) for name in slots(type(one)) if name not in ("fields", "content")}


def test_there_is_one_of_every_class():
    assert {type(make()) for make in EVERY.values()} == set(CLASSES)


@each
def test_every_slot_has_a_value_and_there_is_no_other_attribute(make):
    one = make()
    assert not hasattr(one, "__dict__")
    assert all(hasattr(one, name) for name in slots(type(one)))


@each
def test_it_cannot_be_changed(make):
    one = make()
    before = values(one)
    for name in (*slots(type(one)), "kind", "anything"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(one, name, "forged")
        with pytest.raises(AttributeError, match="cannot be removed"):
            delattr(one, name)
    with pytest.raises(TypeError):
        one.fields["mch_id"] = "forged"
    assert values(one) == before


@pytest.mark.parametrize("kind", [*CLASSES, Notification])
def test_nobody_makes_one_by_hand(kind):
    with pytest.raises(TypeError, match="authenticated fields alone"):
        kind()


@each
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_can_be_copied_and_pickled_for_a_worker(make, copied):
    one = make()
    other = copied(one)
    assert other == one
    assert hash(other) == hash(one)
    assert type(other) is type(one)
    assert values(other) == values(one)
    assert dict(other.fields) == dict(one.fields)
    assert type(other.fields) is type(one.fields)
    assert getattr(other, "content", None) == getattr(one, "content", None)


@each
def test_its_repr_shows_nothing_of_the_payer_and_stays_on_one_line(make):
    shown = repr(make())
    for secret in (OPENID, PLATE, "a note", "freight", "支付用户零钱", "4534323JKHDFE1243252"):
        assert secret not in shown
    assert shown.isprintable()
    assert shown.startswith(f"<{type(make()).__name__} ")


@each
def test_it_equals_one_that_tells_the_same_and_nothing_else(make):
    one = make()
    assert one == make()
    assert one != one.key
    assert one != dict(one.fields)
    others = [other() for other in EVERY.values()]
    for other in others:
        told = (type(other), other.key, other.fingerprint)
        assert (one == other) is (told == (type(one), one.key, one.fingerprint))


@each
def test_its_key_names_its_kind_and_fits_any_store(make):
    one = make()
    assert one.key.startswith(f"{one.kind}/")
    # `work/` before it; 255 characters is what an index of MySQL takes without thinking.
    assert len(f"work/{one.key}") <= 255
    assert re.fullmatch(r"[\w.|*@:/-]+", one.key, re.ASCII)
    assert len(one.fingerprint) == 32


def test_what_a_kind_has_not_is_empty():
    for name in ("contract", "plate", "scan"):
        one = EVERY[name]()
        assert (one.out_trade_no, one.transaction_id, one.event_type) == ("", "", "")
    assert (EVERY["contract"]().appid, EVERY["refund"]().appid, EVERY["event"]().sub_mch_id) == ("", "", "")
    assert repr(EVERY["event"]()) == "<Event event_type=COMPLAINT.CREATE notification_id=EV-1>"


@each
def test_its_merchant_and_dialect_are_named(make):
    one = make()
    assert one.mch_id == MCH_ID
    assert one.appid in ("", APPID)
    assert one.sub_mch_id in ("", SUB_MCH_ID)
    assert one.dialect == ("APIv3" if hasattr(one.fields, "serial") else "APIv2")
    assert (one.event_type in EVENTS) is (one.dialect == "APIv3" or one.kind == "pay_after")


READERS = {
    Payment.from_verified: "verify", Payment.from_resource: "APIv3",
    Refund.from_decrypted: "Decrypted", Refund.from_resource: "VerifiedResource",
    Contract.from_verified: "Verified", Contract.from_resource: "VerifiedResource",
    PlateState.from_verified: "Verified", Scan.from_verified: "Verified",
    ProfitSharing.from_resource: "VerifiedResource", Transfer.from_resource: "VerifiedResource",
    PayScore.from_resource: "VerifiedResource", Event.from_resource: "VerifiedResource",
    lambda source: PayAfter.from_verified(source, ()): "Verified",
}  # fmt: skip
SOURCES = {
    "bytes": notification(),
    "what was parsed": parse(notification()),
    "none": None,
    "json": dict(COMPLAINT),
    "verified": verified(notification()),
    "decrypted": decrypted(),
    "resource": resource("COMPLAINT.CREATE", COMPLAINT),
}
_TAKES = {"verify": "verified", "Verified": "verified", "Decrypted": "decrypted"}


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__qualname__)
def test_it_is_read_from_what_was_authenticated_for_it_and_from_nothing_less(read):
    taken = _TAKES.get(READERS[read], "resource")
    for name, source in SOURCES.items():
        if name != taken:
            with pytest.raises(TypeError, match=READERS[read]):
                read(source)


def test_the_fingerprint_is_sha_256_of_values_led_by_their_lengths():
    # Stored in databases: another release must find the same 32 bytes.
    assert digest(["A-1001", "", "100"]) == hashlib.sha256(b"6:A-10010:3:100").digest()
    assert digest(["支付"]) == hashlib.sha256("2:支付".encode()).digest()
    assert digest(["a", "b"]) != digest(["ab", ""])


def test_text_of_other_people_is_escaped_and_cut_in_a_repr():
    order_no = "P\n\u202e" + "x" * 500
    shown = repr(event("PROFITSHARING.SUCCESS", PROFIT_SHARING, out_order_no=order_no))
    assert shown.isprintable()
    assert len(shown) < 400
