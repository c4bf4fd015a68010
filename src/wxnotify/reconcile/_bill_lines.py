"""
The lines of a downloaded bill: opened, unpacked, decoded, and never held all at once.

A bill comes as plain text, or as gzip if it was asked for with ``tar_type=GZIP``,
and is UTF-8, with or without a byte order mark. What somebody opened and saved on
the way (GBK, a workbook, an archive) is refused by its name: a spreadsheet also
rounds the order numbers that it takes for numbers.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, cast

from ..errors import BadBill, shown

#: How much is read or unpacked at once, in bytes.
_PIECE: Final = 256 * 1024
#: Far more than any row. Without a limit, a file without line ends would be read into memory.
_LONGEST_LINE: Final = 1024 * 1024
_MARK: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
#: What tells zlib to expect gzip's header and checksum.
_WITH_HEADER: Final = 31
#: How other files begin, and what they are.
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive or a workbook; take the bill as it was downloaded",
    b"\xff\xfe": "UTF-16; take the bill as it was downloaded",
    b"\xfe\xff": "UTF-16; take the bill as it was downloaded",
    b"<": "XML: WeChat Pay's answer was an error, or that there is no bill",
    b"{": "JSON: WeChat Pay's answer was an error, or that there is no bill",
}
_ANSWERS: Final = (b"<", b"{")
_LONGEST_BEGINNING: Final = 4
#: More than any error WeChat Pay answers with.
_LONGEST_ANSWER: Final = 64 * 1024
#: One of them is in every bill that was made a text, packed or not, and in no path.
_IN_NO_PATH: Final = ("\n", "\0")
_IN_EVERY_HEADER: Final = "交易时间"


class BinaryFile(Protocol):
    """Anything to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        ...


#: A path; a file opened in binary mode, which is left open; or the content, whole or in pieces.
BillSource: TypeAlias = "str | os.PathLike[str] | BinaryFile | bytes | Iterable[bytes]"


class BillLines:
    """
    Give the lines of a bill without their ends, once.

    Args:
        source: Where it is.

    Raises:
        BadBill: From the iteration, if it is no text in UTF-8, or gzip that is
            damaged or cut off.

        TypeError: If *source* is none of these; from the iteration, if it gives
            anything but bytes.

        OSError: From the iteration, if the file cannot be opened or read.
    """

    def __init__(self, source: BillSource) -> None:
        _check(source)
        self._source: Any = source
        #: How much of the source was read, in bytes, as it is stored.
        self.bytes_read = 0
        #: The number of the line that was given last, from 1.
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        rest = b""
        for piece in self._unpacked():
            rest += piece
            whole = rest.rfind(b"\n") + 1
            if whole:
                for line in self._decoded(rest[: whole - 1]):
                    self.number += 1
                    yield line
                rest = rest[whole:]
            if len(rest) > _LONGEST_LINE:
                raise BadBill("the line does not end: this is no bill", self.number + 1)
        if rest:
            (line,) = self._decoded(rest)
            self.number += 1
            yield line

    def _decoded(self, block: bytes) -> list[str]:
        block = (block + b"\n").replace(b"\r\n", b"\n")[:-1]
        try:
            return block.decode().split("\n")
        except UnicodeDecodeError as error:
            number = self.number + 1 + block.count(b"\n", 0, error.start)
        # Outside of the handler: the error would carry the whole block along.
        raise BadBill(f"not UTF-8{_perhaps_gbk(block)}: take the bill as it was downloaded", number)

    def _unpacked(self) -> Iterator[bytes]:
        beginning, pieces = _beginning(self._pieces())
        if beginning.startswith(_GZIP):
            beginning, pieces = _beginning(_unzipped(pieces))
        for other, what in _OTHERS.items():
            if beginning.startswith(other):
                said = _said(pieces) if other in _ANSWERS else ""
                raise BadBill(f"this is {what}{said}", 1)
        if beginning.startswith(_MARK):
            yield next(pieces)[len(_MARK) :]
        yield from pieces

    def _pieces(self) -> Iterator[bytes]:
        source = self._source
        if isinstance(source, (str, os.PathLike)):
            with open(cast("str", source), "rb") as file:
                yield from self._counted(iter(lambda: file.read(_PIECE), b""))
        elif isinstance(source, (bytes, bytearray)):
            yield from self._counted([bytes(source)])
        elif hasattr(source, "read"):
            read = source.read
            yield from self._counted(iter(lambda: read(_PIECE) or b"", b""))
        else:
            yield from self._counted(source)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if not isinstance(piece, (bytes, bytearray)):
                raise TypeError(f"a bill is read as bytes, not as {type(piece).__name__}")
            self.bytes_read += len(piece)
            yield bytes(piece)


def _check(source: object) -> None:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(cast("str | os.PathLike[str]", source))
        # Else the system would say that the path is too long, and repeat all of it.
        if isinstance(path, str) and any(one in path for one in _IN_NO_PATH):
            raise TypeError("bill is a text and no path: give it as bytes, such as response.content")
    elif not hasattr(source, "read") and not isinstance(source, Iterable):
        raise TypeError(
            "bill is a path, a file opened in binary mode or the bytes, whole or in pieces, "
            f"not {type(source).__name__}"
        )


def _beginning(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Look at the first bytes; give them, and the pieces with them."""
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= _LONGEST_BEGINNING:
            break
    return first, chain([first], pieces)


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj(_WITH_HEADER)
    for piece in pieces:
        waiting = piece
        while waiting:
            if unzip.eof:
                # Another member, as in files that were put one behind the other.
                unzip = zlib.decompressobj(_WITH_HEADER)
            try:
                # Never more than this at once, however well it was packed.
                unzipped = unzip.decompress(waiting, _PIECE)
            except zlib.error:
                raise BadBill("the gzip is damaged: download the bill again") from None
            yield unzipped
            # With all input taken in, output may still wait for room; it comes with the next input, and the
            # last is a checksum.
            waiting = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    if not unzip.eof:
        raise BadBill("the gzip is cut off: download the bill again")


def _perhaps_gbk(block: bytes) -> str:
    try:
        gbk = _IN_EVERY_HEADER in block.decode("gb18030")
    except UnicodeDecodeError:
        gbk = False
    return " but GBK, as spreadsheets save it" if gbk else ""


def _said(pieces: Iterator[bytes]) -> str:
    """Give what an error says; the rest of an answer is nobody's business here."""
    answer = b""
    for piece in pieces:
        answer += piece[:_LONGEST_ANSWER]
        if len(answer) >= _LONGEST_ANSWER:
            break
    text = answer.decode("utf-8", "replace")
    told = _of_xml(text) if text.startswith("<") else _of_json(text)
    said = ", ".join(f"{name} {shown(value)}" for name, value in told.items())
    return f" ({said})" if said else ""


def _of_xml(text: str) -> dict[str, str]:
    # The strict parser is for notifications; here nothing is trusted, and nothing but this is looked for.
    value, end, _ = text.partition("<return_msg>")[2].partition("</return_msg>")
    return {"return_msg": value.strip().removeprefix("<![CDATA[").removesuffix("]]>")} if end else {}


def _of_json(text: str) -> dict[str, str]:
    import json

    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: content[name] for name in ("code", "message") if isinstance(content.get(name), str)}
