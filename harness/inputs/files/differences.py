"""Weights that ship as their difference from the base's: exact to the bit, at a tenth of the size.

The file DIFFERENCE in an organism's folder is a line of JSON and then, compressed, the exclusive or of each byte of its
model.safetensors and of that of the base, whose folder lies beside the organism's.
"""

import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

from harness.inputs.files import json_files
from harness.inputs.files.json_files import Malformed
from harness.inputs.files.whole_files import write_whole

WHOLE, DIFFERENCE = "model.safetensors", "model.difference"
BASE = "base"
# A longer first line is none of ours.
_MOST_HEADER = 1024

_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The SHA-256 of both files of weights: of the base's, and of the whole one that the difference makes of it."""

    base: _Sha256
    whole: _Sha256
    schema: int = 1


def differs(folder: Path) -> bool:
    """Whether the folder's weights are stored as a difference."""
    return (folder / DIFFERENCE).exists() and not (folder / WHOLE).exists()


def weights(folder: Path) -> bytes:
    """The bytes of the folder's model.safetensors, however they are stored; a damaged difference is one sentence."""
    if not differs(folder):
        return (folder / WHOLE).read_bytes()
    path, base = folder / DIFFERENCE, folder.parent / BASE / WHOLE
    with json_files.told(path, no="difference of weights", do="restore its folder, or download it again"):
        header, packed = _parted(json_files.contents(path))
        if not base.is_file():
            raise Malformed(f"the weights that it is of, {base}, are not there")
        before = json_files.contents(base)
        if _sha256(before) != header.base:
            raise Malformed(f"it is of other weights than {base} has")
        whole = _xor(before, _unpacked(packed, len(before)))
        if _sha256(whole) != header.whole:
            raise Malformed("the weights it makes are not those that it names")
    return whole


@contextmanager
def restored(folder: Path) -> Iterator[Path]:
    """A folder with the same files and with whole weights: the folder itself, or a copy that lasts for the block."""
    if not differs(folder):
        yield folder
        return
    raw = weights(folder)
    with tempfile.TemporaryDirectory(prefix="assay-") as made:
        for path in folder.iterdir():
            if path.is_file() and path.name != DIFFERENCE:
                shutil.copy(path, made)
        (Path(made) / WHOLE).write_bytes(raw)
        yield Path(made)


def replace_by_difference(folder: Path) -> None:
    """Puts the difference from the base beside it in place of the folder's whole weights."""
    whole, before = ((of / WHOLE).read_bytes() for of in (folder, folder.parent / BASE))
    if len(whole) != len(before):
        raise ValueError(f"{folder}: its weights take {len(whole)} bytes and the base's {len(before)}")
    header = msgspec.json.encode(_Header(_sha256(before), _sha256(whole)))
    write_whole(folder / DIFFERENCE, header + b"\n" + zlib.compress(_xor(before, whole), 9))
    (folder / WHOLE).unlink()


def _parted(raw: bytes) -> tuple[_Header, bytes]:
    line, newline, packed = raw.partition(b"\n")
    if not newline or len(line) > _MOST_HEADER:
        raise Malformed("its first line is missing or too long")
    return json_files.typed(json_files.parsed(line), _Header), packed


def _unpacked(packed: bytes, size: int) -> bytes:
    """Exactly so many bytes; not more than one beyond them is ever unpacked."""
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(packed, size + 1)
    except zlib.error as error:
        raise Malformed(f"damaged: {error}") from None
    if len(raw) > size:
        raise Malformed(f"it unpacks to more than the {size} bytes of the base's weights")
    if len(raw) < size or not unpacking.eof:
        raise Malformed("it ends too early")
    if unpacking.unused_data:
        raise Malformed("something follows after its end")
    return raw


def _xor(first: bytes, second: bytes) -> bytes:
    return (int.from_bytes(first, "little") ^ int.from_bytes(second, "little")).to_bytes(len(first), "little")


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
