"""Small builders for the tests of APIv3."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wxnotify import Merchant, VerifiedResource
from wxnotify.apiv3 import APIv3
from wxnotify.testing import APPID, MCH_ID, apiv3_keys
from wxnotify.testing.apiv3 import SERIAL, Posted, apiv3

NOW = 1_795_000_000
TIMESTAMP, NONCE = "Wechatpay-Timestamp", "Wechatpay-Nonce"
SIGNATURE, SERIAL_NAME, TYPE = "Wechatpay-Signature", "Wechatpay-Serial", "Wechatpay-Signature-Type"


def merchant(dialect: APIv3 | None = None, mch_id: str = MCH_ID) -> Merchant:
    return Merchant(mch_id, APPID, apiv3=dialect or apiv3())


def opened(posted: Posted, *merchants: Merchant, now: float = NOW) -> VerifiedResource:
    """Open a notification as a receiver with these merchants does, at *now*."""
    return APIv3.open(merchants or [merchant()], posted.body, posted.headers, now)


def with_headers(posted: Posted, **changes: str | None) -> Posted:
    """Change headers, named by what stands behind ``Wechatpay-``; None leaves one out."""
    named = {f"Wechatpay-{name.replace('_', '-')}": value for name, value in changes.items()}
    headers = {name: value for name, value in {**posted.headers, **named}.items() if value is not None}
    return Posted(headers, posted.body)


def signed_by(
    pem: str, body: bytes, *, now: int = NOW, serial: str = SERIAL, digest: Any = None, pad: Any = None
) -> Posted:
    """Sign with any private key, and in any way; shares no line with the library."""
    key = _loaded(pem)
    message = f"{now}\nabcdefghijklmnop\n".encode() + body + b"\n"
    signature = key.sign(message, pad or padding.PKCS1v15(), digest or hashes.SHA256())
    headers = {
        TIMESTAMP: str(now),
        NONCE: "abcdefghijklmnop",
        SIGNATURE: base64.b64encode(signature).decode(),
        SERIAL_NAME: serial,
        TYPE: "WECHATPAY2-SHA256-RSA2048",
    }
    return Posted(headers, body)


@cache
def _loaded(pem: str) -> Any:
    return load_pem_private_key(pem.encode(), None)


def genuine(body: bytes, **options: Any) -> Posted:
    """Sign with the platform key of the tests."""
    return signed_by(apiv3_keys.CERTIFICATE_PRIVATE_KEY, body, **options)


def envelope_of(posted: Posted) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(posted.body)
    return content


def resealed(posted: Posted, **resource: Any) -> Posted:
    """Change the resource of an envelope and have WeChat Pay sign that; None leaves a name out."""
    envelope = envelope_of(posted)
    changed = {**envelope["resource"], **resource}
    envelope["resource"] = {name: value for name, value in changed.items() if value is not None}
    return genuine(json.dumps(envelope).encode())


def reenveloped(posted: Posted, **envelope: Any) -> Posted:
    """Change an envelope and have WeChat Pay sign that; None leaves a name out."""
    changed = {**envelope_of(posted), **envelope}
    return genuine(json.dumps({name: value for name, value in changed.items() if value is not None}).encode())
