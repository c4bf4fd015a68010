"""
The ciphers of both dialects: AES-256-ECB, AES-256-GCM and SM4-GCM.

APIv2 encrypts a refund's ``req_info`` with AES-256-ECB and PKCS#7, under the 32
lower-case hex digits of the key's MD5. APIv3 encrypts a notification's resource
with AES-256-GCM under the APIv3 key, or with SM4-GCM under the first 16 bytes of
its SM3.

Each comes from the package ``cryptography``, the extra ``crypto``, imported when
it is first needed. Whatever is wrong with a ciphertext, the refusal is the same
and says nothing about why; neither it nor a frame it passes holds the key, the
ciphertext or what was decrypted.

Source: WeChat Pay APIv2, "refund result notification" (chapter 9_16); APIv3,
"decrypt certificates and callbacks" (chapter 4_2).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from ._keys import Key
from .errors import BadCiphertext, ExtraMissing, NotifyError

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK: Final = 16
_NONCE: Final = 12
_TAG: Final = 16
_SM4_KEY: Final = 16


def missing(what: str) -> ExtraMissing:
    """Make the refusal that says which extra *what* needs."""
    return ExtraMissing(
        f'{what} needs the package cryptography, which is not installed: pip install "wxpay-notify[crypto]"'
    )


def check_installed(what: str) -> None:
    """Raise ``ExtraMissing`` for *what* if the extra ``crypto`` is not installed."""
    try:
        import cryptography as _  # noqa: F401
    except ImportError:
        raise missing(what) from None


def decoded(text: str) -> bytes | None:
    """
    Decode base64, strictly; None if *text* is anything else.

    Python's own decoder passes over foreign characters, and even with
    ``validate`` over surplus padding and bits, so that one value has many
    spellings.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:  # of a character outside ASCII, too
        return None
    return data if base64.b64encode(data).decode("ascii") == text else None


def _given(made: bytes | NotifyError) -> bytes:
    # Raised here, where no frame holds a key, a ciphertext or what was decrypted.
    if isinstance(made, NotifyError):
        raise made
    return made


# --- AES-256-ECB: APIv2's refunds ------------------------------------------------


def aes_256_ecb_decrypt(key: Key, ciphertext: bytes) -> bytes:
    """
    Decrypt what APIv2 puts into ``req_info``, base64 taken off.

    Every byte of the padding is checked. A wrong key passes that once in 256
    times, so what comes out is no document yet.

    Raises:
        BadCiphertext: If it does not decrypt, whatever the reason.

        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    opened = _ecb_opened(key._ecb_key(), ciphertext)
    del ciphertext
    return _given(opened)


def aes_256_ecb_encrypt(key: Key, plaintext: bytes) -> bytes:
    """
    Encrypt as WeChat Pay does a refund's ``req_info``. For tests: it hides, and authenticates nothing.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    closed = _ecb_closed(key._ecb_key(), plaintext)
    del plaintext
    return _given(closed)


def _ecb_opened(key: bytes, ciphertext: bytes) -> bytes | NotifyError:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        return missing("A refund")
    if not ciphertext or len(ciphertext) % _BLOCK:
        return _refused()
    decryptor = Cipher(algorithms.AES256(key), modes.ECB()).decryptor()  # noqa: S305 WeChat Pay's choice
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    surplus = padded[-1]
    if not 1 <= surplus <= _BLOCK or padded[-surplus:] != bytes([surplus]) * surplus:
        return _refused()
    return padded[:-surplus]


def _ecb_closed(key: bytes, plaintext: bytes) -> bytes | NotifyError:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        return missing("A refund")
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 the same
    surplus = _BLOCK - len(plaintext) % _BLOCK
    return encryptor.update(plaintext + bytes([surplus]) * surplus) + encryptor.finalize()


# --- AES-256-GCM and SM4-GCM: APIv3's resources ----------------------------------


def aes_256_gcm_decrypt(key: Key, nonce: bytes, associated_data: bytes, ciphertext: bytes) -> bytes:
    """
    Decrypt an APIv3 resource of ``AEAD_AES_256_GCM``, base64 taken off.

    Args:
        key: The APIv3 key.

        nonce: The resource's own, 12 bytes.

        associated_data: Empty where the resource has none.

        ciphertext: With the tag of 16 bytes behind it.

    Raises:
        BadCiphertext: If it does not decrypt, whatever the reason.

        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    opened = _gcm_opened(_aes, key, nonce, associated_data, ciphertext)
    del nonce, associated_data, ciphertext
    return _given(opened)


def aes_256_gcm_encrypt(key: Key, nonce: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    """
    Encrypt as WeChat Pay does a resource; for tests.

    Returns:
        The ciphertext, with the tag of 16 bytes behind it.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    closed = _gcm_closed(_aes, key, nonce, associated_data, plaintext)
    del nonce, associated_data, plaintext
    return _given(closed)


def sm4_gcm_decrypt(key: Key, nonce: bytes, associated_data: bytes, ciphertext: bytes) -> bytes:
    """
    Decrypt an APIv3 resource of ``AEAD_SM4_GCM``, base64 taken off.

    Args:
        key: The APIv3 key.

        nonce: The resource's own, 12 bytes.

        associated_data: Empty where the resource has none.

        ciphertext: With the tag of 16 bytes behind it.

    Raises:
        BadCiphertext: If it does not decrypt, whatever the reason; also if the
            OpenSSL in use has no SM3 or SM4, and the message says so then.

        ExtraMissing: If the extra ``crypto`` is not installed.

    Source: wechatpay-java, ``AeadSM4Cipher``.
    """
    opened = _gcm_opened(_sm4, key, nonce, associated_data, ciphertext)
    del nonce, associated_data, ciphertext
    return _given(opened)


def sm4_gcm_encrypt(key: Key, nonce: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    """
    Encrypt as WeChat Pay does a resource of ``AEAD_SM4_GCM``; for tests.

    Returns:
        The ciphertext, with the tag of 16 bytes behind it.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    closed = _gcm_closed(_sm4, key, nonce, associated_data, plaintext)
    del nonce, associated_data, plaintext
    return _given(closed)


def _gcm_opened(
    block: Callable[[Key], Any], key: Key, nonce: bytes, associated_data: bytes, ciphertext: bytes
) -> bytes | NotifyError:
    try:
        from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ImportError:
        return missing("An APIv3 resource")
    if len(nonce) != _NONCE and not key._any_length:
        return _refused()
    try:
        decryptor = Cipher(block(key), modes.GCM(nonce, ciphertext[-_TAG:])).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        return decryptor.update(ciphertext[:-_TAG]) + decryptor.finalize()
    except (InvalidTag, ValueError):  # ValueError: a tag that is cut, or a length that is not known
        return _refused()
    except UnsupportedAlgorithm:
        return BadCiphertext("it is SM4, which the OpenSSL that cryptography uses here does not have")


def _gcm_closed(
    block: Callable[[Key], Any], key: Key, nonce: bytes, associated_data: bytes, plaintext: bytes
) -> bytes | NotifyError:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ImportError:
        return missing("An APIv3 resource")
    encryptor = Cipher(block(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated_data)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def _aes(key: Key) -> Any:
    from cryptography.hazmat.primitives.ciphers import algorithms

    return algorithms.AES(key._aead_key())


def _sm4(key: Key) -> Any:
    from cryptography.hazmat.primitives.ciphers import algorithms

    return algorithms.SM4(_sm4_key(key))


def _sm4_key(key: Key) -> bytes:
    from cryptography.hazmat.primitives import hashes

    digest = hashes.Hash(hashes.SM3())
    digest.update(key._aead_key())
    return digest.finalize()[:_SM4_KEY]


def _refused() -> BadCiphertext:
    # One message for every fault: what differs would tell a forger something.
    return BadCiphertext("it does not decrypt, or was changed on its way")
