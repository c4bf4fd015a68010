"""
WeChat Pay's own keys: what its signatures are checked with.

Older merchants have platform certificates, known by their serial number, and
newer ones WeChat Pay's public key, known by a ``PUB_KEY_ID_...``. While a
merchant moves from the one to the other, both sign.

Source: WeChat Pay APIv3, "WeChat Pay public key" (doc 4012153196) and "platform
certificates" (doc 4012068829).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..errors import ConfigurationError, shown

#: A shorter RSA key is refused: WeChat Pay's are of 2048 bits.
LEAST_BITS: Final = 2048
_KEY_ID: Final = re.compile(r"PUB_KEY_ID_[0-9A-Za-z_]{1,53}", re.ASCII)


class PlatformKey:
    """
    A key that WeChat Pay signs with: a platform certificate's, or its public key.

    Made by :meth:`from_certificate` or :meth:`from_public_key`. It is public: it
    compares, and its ``repr`` names it.
    """

    __slots__ = ("_encoded", "_public_key", "not_after", "serial")

    #: What ``Wechatpay-Serial`` calls it.
    serial: str
    #: When the certificate expires; None for a public key. Nothing here acts on
    #: it: WeChat Pay signs with another before that, under another serial.
    not_after: datetime | None
    _public_key: rsa.RSAPublicKey
    _encoded: bytes

    def __init__(self) -> None:
        raise TypeError("a PlatformKey is made by from_certificate() or from_public_key()")

    @classmethod
    def from_certificate(cls, pem: str | bytes) -> PlatformKey:
        """
        Read a platform certificate.

        Who issued it is not checked: take it from where you trust it to come from.

        Args:
            pem: The certificate, as ``-----BEGIN CERTIFICATE-----`` and what
                follows. Exactly one.

        Returns:
            The key. Its ``serial`` is the certificate's in upper-case hex, and
            ``not_after`` when it expires.

        Raises:
            ConfigurationError: If it is no certificate, or more than one, or holds
                a private key; if its key is not RSA of 2048 bits or more.
        """
        text = _pem(pem)
        del pem
        problem = _private(text)
        certificates: list[x509.Certificate] = []
        if not problem:
            try:
                certificates = x509.load_pem_x509_certificates(text)
            except (ValueError, x509.InvalidVersion):
                problem = "this is no certificate in PEM"
        del text  # it may be a private key, given by mistake
        if len(certificates) > 1:
            problem = f"there are {len(certificates)}; make a PlatformKey of each"
        if problem:
            raise ConfigurationError(f"platform certificate: {problem}")
        certificate = certificates[0]
        try:
            public_key: object = certificate.public_key()
        except (UnsupportedAlgorithm, ValueError):
            public_key = None
        # Whole bytes, as openssl and WeChat Pay's console print it.
        digits = f"{certificate.serial_number:X}"
        serial = digits.zfill(len(digits) + len(digits) % 2)
        return cls._of(serial, public_key, certificate.not_valid_after_utc)

    @classmethod
    def from_public_key(cls, key_id: str, pem: str | bytes) -> PlatformKey:
        """
        Read WeChat Pay's public key.

        Args:
            key_id: Its ``PUB_KEY_ID_...``, which the merchant console shows beside it.

            pem: The key, as ``-----BEGIN PUBLIC KEY-----`` and what follows.

        Returns:
            The key. Its ``serial`` is *key_id*.

        Raises:
            ConfigurationError: If *key_id* is none; if *pem* is no public key, is
                a private one or a certificate, or is not RSA of 2048 bits or more.
        """
        text = _pem(pem)
        del pem
        problem = _private(text)
        public_key: object = None
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            problem = f"its id is {shown(key_id)}, expected PUB_KEY_ID_ and what follows"
        elif not problem and b"BEGIN CERTIFICATE" in text:
            problem = "this is a certificate: PlatformKey.from_certificate() takes it"
        elif not problem:
            try:
                public_key = serialization.load_pem_public_key(text)
            except ValueError:
                problem = "this is no public key in PEM"
            except UnsupportedAlgorithm:
                public_key = None  # it is said below which are supported
        del text
        if problem:
            raise ConfigurationError(f"public key of WeChat Pay: {problem}")
        return cls._of(key_id, public_key, None)

    @classmethod
    def _of(cls, serial: str, public_key: object, not_after: datetime | None) -> PlatformKey:
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise ConfigurationError(
                f"platform key {serial} is not RSA; SM2, the other kind WeChat Pay has, "
                "is not to be had from the package cryptography"
            )
        if public_key.key_size < LEAST_BITS:
            raise ConfigurationError(
                f"platform key {serial} has {public_key.key_size} bits, at least {LEAST_BITS} are expected"
            )
        made = cls.__new__(cls)
        encoded = public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for name, value in (
            ("serial", serial),
            ("not_after", not_after),
            ("_public_key", public_key),
            ("_encoded", encoded),
        ):
            object.__setattr__(made, name, value)
        return made

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a PlatformKey is WeChat Pay's; {name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a PlatformKey is WeChat Pay's; {name} cannot be removed")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlatformKey):
            return NotImplemented
        return (self.serial, self._encoded) == (other.serial, other._encoded)

    def __hash__(self) -> int:
        return hash((self.serial, self._encoded))

    def __repr__(self) -> str:
        until = "" if self.not_after is None else f" until {self.not_after:%Y-%m-%d}"
        return f"<PlatformKey {self.serial}{until}>"

    def _signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's: RSA, PKCS#1 v1.5 with SHA-256, and nothing else."""
        try:
            self._public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def _pem(given: object) -> bytes:
    if isinstance(given, str):
        return given.encode("utf-8", "replace")
    return given if isinstance(given, bytes) else b""


def _private(text: bytes) -> str:
    private = b"PRIVATE KEY" in text
    return "this holds a private key; WeChat Pay's own never leaves it, so it is yours" if private else ""
