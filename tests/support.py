"""Small builders for the tests of the core, and the signing rule written out a second time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wxnotify import Payment, parse, verify, write
from wxnotify.errors import NotifyError
from wxnotify.testing import KEY

SOURCE = Path(__file__).resolve().parent.parent / "src" / "wxnotify"


def code_of(action: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """Give the code of the refusal that *action* ends in."""
    with pytest.raises(NotifyError) as refusal:
        action(*args, **kwargs)
    return refusal.value.code


def either(action: Callable[..., object], *args: Any) -> Any:
    """Give the result or the refusal; whatever else is raised fails the test."""
    try:
        return action(*args)
    except NotifyError as refusal:
        return refusal


def string_to_sign(fields: Mapping[str, str], key: str) -> str:
    """Write out WeChat Pay's rule; shares no line with the library."""
    pairs = [f"{name}={fields[name]}" for name in sorted(fields) if name != "sign" and fields[name] != ""]
    return "&".join(pairs) + "&key=" + key


def reference_sign(fields: Mapping[str, str], key: str = KEY, sign_type: str = "MD5") -> str:
    """Sign by the rule, with the standard library's own MD5 and HMAC."""
    text = string_to_sign(fields, key).encode()
    if sign_type == "MD5":
        return hashlib.md5(text).hexdigest().upper()
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest().upper()


def signed(fields: Mapping[str, str], key: str = KEY, sign_type: str = "MD5") -> dict[str, str]:
    """Add the reference signature."""
    return {**fields, "sign": reference_sign(fields, key, sign_type)}


def received(fields: Mapping[str, str], key: str = KEY) -> Payment:
    """Send *fields* as they are through the wire, the check of their signature and the reading."""
    return Payment.from_verified(verify(parse(write(fields)), key))
