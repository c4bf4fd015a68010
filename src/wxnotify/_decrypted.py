"""
APIv2's refund result: encrypted, and not signed.

It has no ``sign``. All that protects it is that ``req_info`` decrypts under the
merchant's key. Nothing outside ``req_info`` is authenticated at all, and inside
it AES-256-ECB hides without authenticating: who has several of a merchant's
refunds can put blocks of them together. So it is never called verified. Whether
a refund was made is for the order it names to confirm: compare it with what you
asked for, or query it.

Source: WeChat Pay APIv2, "refund result notification" (chapter 9_16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from ._ciphers import aes_256_ecb_decrypt, decoded
from ._keyed_fields import KeyedFields
from ._keys import AnyKey, Key, as_keys
from ._signature import check_return_code
from ._wire import parse
from .errors import BadCiphertext, ExtraMissing, MissingField, NotifyError, SandboxKey


class Decrypted(KeyedFields):
    """
    What a refund's ``req_info`` decrypts to: made by :func:`decrypt` and by nothing else.

    A mapping of the decrypted fields alone. Encrypted is not signed: read the
    module's first lines. Empty values are left out, as in :class:`Verified`.

    Its ``repr`` names the fields and shows no value.
    """

    __slots__ = ("_mch_id", "_unauthenticated")

    _unauthenticated: dict[str, str]
    _mch_id: str

    def __init__(self) -> None:
        raise TypeError("Decrypted is made by decrypt() alone, from a req_info that one of the keys opens")

    @classmethod
    def _make(
        cls,
        fields: dict[str, str],
        unauthenticated: dict[str, str],
        *,
        mch_id: str,
        key_index: int,
        sandbox: bool = False,
    ) -> Decrypted:
        made = cls._keyed(fields, key_index, sandbox)
        made._unauthenticated = unauthenticated
        made._mch_id = mch_id
        return made

    @property
    def unauthenticated(self) -> Mapping[str, str]:
        """What stood beside ``req_info``: anybody may have written it. For a log at most."""
        return MappingProxyType(self._unauthenticated)

    @property
    def mch_id(self) -> str:
        """The configured merchant whose key opened it; empty where :func:`decrypt` was not told."""
        return self._mch_id


def decrypt(
    fields: Mapping[str, str],
    key: AnyKey | Iterable[AnyKey],
    *,
    mch_id: str = "",
    allow_sandbox: bool = False,
) -> Decrypted:
    """
    Decrypt the ``req_info`` of an APIv2 refund result.

    Args:
        fields: What :func:`parse` returned.

        key: The merchant's APIv2 key, or several while it is being changed.

        mch_id: The merchant, as configured. It becomes the refund's; what the
            message itself says is not authenticated.

        allow_sandbox: Whether a key of the sandbox may open it.

    Returns:
        The decrypted fields.

    Raises:
        TypeError: If *fields* is not a mapping.

        ConfigurationError: If a key is not an APIv2 key.

        ExtraMissing: If the extra ``crypto`` is not installed.

        ReturnCodeFail: If ``return_code`` is there and not SUCCESS.

        MissingField: If there is no ``req_info``.

        BadCiphertext: If no key decrypts it to a document: one error for every cause.

        SandboxKey: If it is the sandbox's key that does, and that is not allowed.
    """
    try:
        keys = as_keys(key)
    finally:
        del key
    if not isinstance(fields, Mapping):
        raise TypeError(f"decrypt() takes the fields that parse() returns, not {type(fields).__name__}")
    check_return_code(fields)
    req_info = fields.get("req_info")
    if not req_info:
        raise MissingField("req_info absent or empty: this is not a refund result")
    ciphertext = decoded(req_info) or b""
    opened = first_document(keys, lambda one: aes_256_ecb_decrypt(one, ciphertext), root="root")
    if opened is None:
        raise BadCiphertext(
            f"req_info does not decrypt to a document ({len(keys)} key{'s' * (len(keys) > 1)} tried)"
        )
    key_index, inner = opened
    sandbox = keys[key_index].sandbox
    if sandbox and not allow_sandbox:
        raise SandboxKey(f"req_info decrypts under key {key_index}, a key of the sandbox")
    outside = {name: value for name, value in fields.items() if name != "req_info"}
    return Decrypted._make(inner, outside, mch_id=mch_id, key_index=key_index, sandbox=sandbox)


def first_document(
    keys: Iterable[Key], decrypt: Callable[[Key], bytes], *, root: str = "xml"
) -> tuple[int, dict[str, str]] | None:
    """
    Find the key under which something decrypts to a document.

    A wrong key may pass a cipher's own check, as it does that of a padding once in
    256 times; it does not make a document as well.

    Args:
        keys: Those to try.

        decrypt: Gives what is under a key, or raises ``BadCiphertext``.

        root: The document's root element.

    Returns:
        The key's position, and the fields that are not empty; None if there is no such key.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    for key_index, key in enumerate(keys):
        try:
            fields = parse(decrypt(key), root=root)
        except ExtraMissing:
            raise
        except NotifyError:
            continue
        return key_index, {name: value for name, value in fields.items() if value != ""}
    return None
