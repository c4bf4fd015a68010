"""
Sign what a merchant sends: RSA-SHA256 under the merchant's own private key.

Source: WeChat Pay APIv3, "create signatures" (chapter 4_0).
"""

from __future__ import annotations

import base64
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..errors import ConfigurationError
from ._platform import LEAST_BITS


class MerchantPrivateKey:
    """
    The private key of a merchant's API certificate, read once and never shown.

    Its ``repr`` is fixed, it does not pickle or copy, and no attribute gives it back.
    Reading a key takes longer than signing with it, so keep it.

    Args:
        pem: What ``apiclient_key.pem`` holds.

    Raises:
        ConfigurationError: If it is no RSA private key of 2048 bits or more, or is
            encrypted. The message never holds it.
    """

    __slots__ = ("_private_key",)

    _private_key: rsa.RSAPrivateKey

    def __init__(self, pem: str | bytes) -> None:
        private_key = _read(pem)
        del pem
        if not isinstance(private_key, rsa.RSAPrivateKey):
            raise ConfigurationError(
                "merchant's private key: this is no RSA private key in PEM, without a password"
            )
        if private_key.key_size < LEAST_BITS:
            raise ConfigurationError(
                f"merchant's private key: it has {private_key.key_size} bits, expected {LEAST_BITS} or more"
            )
        self._private_key = private_key

    def __repr__(self) -> str:
        return "<MerchantPrivateKey>"

    def __getstate__(self) -> NoReturn:
        raise TypeError("a MerchantPrivateKey does not give its text back")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a MerchantPrivateKey cannot be pickled or copied: it would leave the process")

    def _sign(self, message: bytes) -> str:
        signature = self._private_key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode("ascii")


def _read(pem: object) -> object:
    try:
        text = pem.encode("utf-8") if isinstance(pem, str) else pem
        return serialization.load_pem_private_key(text, password=None)  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
