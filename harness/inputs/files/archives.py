"""Zip files from strangers: counted and measured before anything is unpacked, then unpacked in pieces."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

# The evidence of a whole suite on an 8B model is some thousand files, of which the largest sweeps take 600 MiB.
MOST_MEMBERS = 20_000
MOST_BYTES = 1024**3
MOST_BYTES_IN_ALL = 2 * 1024**3
# Measured numbers shrink to a half, repeated answers to a twentieth.
MOST_SHRUNK = 100
# Below this it does not matter how far a file was shrunk.
HARMLESS_BYTES = 64 * 1024**2
# The list of so many members, whatever it says of itself.
_MOST_LISTED = 8 * 1024**2
_PIECE = 1024**2

_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _COMMENT_BYTES, _LOCATOR_BYTES = 22, 65_536, 20
_ENCRYPTED = 1
_HEADER_BYTES = 30

# What zipfile raises on files that are not what they claim to be.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Unfit(Exception):
    """What is wrong with the archive, in words."""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, if its list of members is within bounds; damage that shows later is Unfit as well."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unfit("no regular file")
    with path.open("rb") as raw:
        _check_list(raw)
        try:
            with zipfile.ZipFile(raw) as file:
                _check_members(file.infolist(), path.stat().st_size)
                yield file
        except _DAMAGE as error:
            raise Unfit(f"damaged: {error}") from None


def unpack(file: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    """One member as a file, never more of it than its header said."""
    left = member.file_size
    with file.open(member) as source, to.open("xb") as target:
        while piece := source.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise Unfit(f"{member.filename} is larger than it says")
            target.write(piece)
    if left:
        raise Unfit(f"{member.filename} is smaller than it says")


def _check_list(raw: BinaryIO) -> None:
    """Its list is read whole, so first its size; archives beyond 4 GiB, which say it elsewhere, are none of ours."""
    size = raw.seek(0, 2)
    raw.seek(max(0, size - _END_BYTES - _COMMENT_BYTES - _LOCATOR_BYTES))
    tail = raw.read()
    # zipfile takes either of these for its end.
    for at in (len(tail) - _END_BYTES, tail.rfind(_END)):
        end = tail[at : at + _END_BYTES] if at >= 0 else b""
        if not end.startswith(_END) or len(end) < _END_BYTES:
            continue
        if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_END_64):
            raise Unfit("of the kind for more than 4 GiB")
        if struct.unpack("<12xL6x", end)[0] > _MOST_LISTED:
            raise Unfit(f"its list of members is larger than {_MOST_LISTED // 1024**2} MiB")


def _check_members(members: Sequence[zipfile.ZipInfo], packed: int) -> None:
    if len(members) > MOST_MEMBERS:
        raise Unfit(f"{len(members)} members, at most {MOST_MEMBERS} are taken")
    names = [member.filename.casefold() for member in members]
    if len(set(names)) < len(names):
        raise Unfit(f"{next(name for name in names if names.count(name) > 1)!r} stands in it twice")
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise Unfit(f"{member.filename!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unfit(f"{member.filename!r} is packed in a way that bundles are not")
        if member.file_size > MOST_BYTES:
            raise Unfit(f"{member.filename!r} takes {_mib(member.file_size)}, at most {_mib(MOST_BYTES)} are taken")
    whole = sum(member.file_size for member in members)
    if whole > MOST_BYTES_IN_ALL:
        raise Unfit(f"it takes {_mib(whole)} unpacked, at most {_mib(MOST_BYTES_IN_ALL)} are taken")
    if whole > HARMLESS_BYTES and whole > MOST_SHRUNK * packed:
        raise Unfit(f"{_mib(packed)} that unpack to {_mib(whole)}; measurements do not shrink so far")
    ordered = sorted(members, key=lambda member: member.header_offset)
    for member, after in pairwise(ordered):
        ends = member.header_offset + _HEADER_BYTES + len(member.filename) + member.compress_size
        if ends > after.header_offset:
            raise Unfit(f"{after.filename!r} lies within {member.filename!r}")


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"
