"""APIv2's fields under one of a merchant's keys, whichever way the key proves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

_Kind = TypeVar("_Kind", bound="KeyedFields")


class KeyedFields(Mapping[str, str]):
    """What :class:`Verified` and :class:`Decrypted` have in common; neither is the other."""

    __slots__ = ("_fields", "_key_index", "_sandbox")

    _fields: dict[str, str]
    _key_index: int
    _sandbox: bool

    @classmethod
    def _keyed(cls: type[_Kind], fields: dict[str, str], key_index: int, sandbox: bool) -> _Kind:
        made = cls.__new__(cls)
        made._fields = fields
        made._key_index = key_index
        made._sandbox = sandbox
        return made

    @property
    def key_index(self) -> int:
        """Position, from 0, of the key that matched or opened it among those that were given."""
        return self._key_index

    @property
    def sandbox(self) -> bool:
        """Whether that key is the sandbox's."""
        return self._sandbox

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self._fields)}>"
