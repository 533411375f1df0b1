"""The models Assay knows by name, the memory they need, and the memory of this machine. Does not import torch."""

import difflib
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import psutil

from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.files import differences
from harness.inputs.places import DATA, PROGRAM

Quant = Literal["nf4", "int8", "none"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
QUANTS: tuple[Quant, ...] = get_args(Quant)
ORGANISM = "organism:"
# The organism that is judged by default.
REFERENCE = ORGANISM + "reference"
GIB = 1024**3

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]{1,96}")
_COMMIT = re.compile(r"(?:[0-9a-f]{40})?")

# Bytes per weight: NF4 takes 4 bits, and a 32-bit scale for every 64 weights.
_BYTES_PER_WEIGHT: dict[Quant, float] = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
_BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
# Memory for activations, keys and values, and the layer being loaded, as a share of the weights.
_BESIDES_WEIGHTS = 0.25


@dataclass(frozen=True)
class KnownModel:
    """An entry of data/models.toml, or an unlisted model of which only its hub id or folder is known."""

    alias: str
    hub: str  # hub id; empty for a local folder
    folder: Path | None = None  # of a local model
    revision: str | None = None
    dtype: str = "auto"
    embedding_millions: float = 0.0  # parameters that are never quantized
    linear_millions: float = 0.0  # parameters that --quant quantizes
    refusal_tokens: tuple[str, ...] = ()
    chat_arguments: dict[str, object] = field(default_factory=dict)
    gated: bool = False
    notes: str = ""

    @property
    def pairs(self) -> Path:
        """The default pairs file of this model: organisms have their own."""
        return DATA / ("organisms/pairs.jsonl" if self.alias.startswith(ORGANISM) else "pairs.jsonl")

    def computed_in(self, dtype: Dtype) -> "KnownModel":
        """The same entry with that dtype; `auto` keeps the listed one."""
        return self if dtype == "auto" else replace(self, dtype=dtype)

    def bytes_needed(self, quant: Quant) -> int:
        """Memory for the weights and for measuring, in bytes; 0 if the model's size is not known."""
        full = _BYTES_PER_NUMBER.get(self.dtype, 2)
        weights = self.embedding_millions * full
        weights += self.linear_millions * (full if quant == "none" else _BYTES_PER_WEIGHT[quant])
        return round(weights * 1e6 * (1 + _BESIDES_WEIGHTS))


@dataclass(frozen=True)
class Machine:
    """The memory of a machine, in bytes; `gpu` is 0 where nvidia-smi finds none."""

    ram: int
    gpu: int

    def fits(self, needed: int) -> bool:
        """Whether a model that needs so many bytes fits into the GPU's memory or the machine's."""
        return needed <= max(self.ram, self.gpu)


def known_models() -> dict[str, KnownModel]:
    """Alias → entry, first those of data/models.toml, then the organisms that ship with Assay."""
    return _listed() | _organisms()


def readable(size: int) -> str:
    """A number of bytes in MiB or GiB, with the unit."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 1024**2:.1f} MiB"


def find(name: str) -> KnownModel:
    """The entry of an alias, a hub id (NAME@COMMIT too) or a local folder, in this order; any other name is refused."""
    known = {alias.lower(): entry for alias, entry in known_models().items()}
    known |= {entry.hub.lower(): entry for entry in known.values() if entry.hub}
    if (entry := known.get(name.lower())) is not None:
        return entry
    if (folder := _folder(name)) is not None:
        return KnownModel(alias=name, hub="", folder=folder)
    hub, _, revision = name.partition("@")
    if not _HUB_ID.fullmatch(hub) or not _COMMIT.fullmatch(revision):
        if name.startswith((".", "/", "~")):
            raise AssayError(
                f"{name}: there is no such folder; give a model's folder in Hugging Face format, or a name"
            )
        close = nearest(name)
        hint = f"did you mean {close}? " if close else ""
        raise AssayError(f"no model is called {name!r}; {hint}`{PROGRAM} models` lists all")
    return KnownModel(alias=hub, hub=hub, revision=revision or None)


def nearest(name: str) -> str:
    """The closest known names, as `A or B`; empty if none is close."""
    names = {alias.lower(): alias for alias in known_models()}
    names |= {alias.removeprefix(ORGANISM): alias for alias in _organisms()}
    names |= {entry.hub.lower(): entry.hub for entry in _listed().values()}
    matches = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.6)
    return " or ".join(dict.fromkeys(names[match] for match in matches))


def require_device(device: Device) -> None:
    """Raises AssayError if torch cannot use the device; imports torch only for `cuda` and `mps`."""
    if device in ("auto", "cpu"):
        return
    import torch  # slow, and only needed to look for a GPU

    available = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if not available:
        raise AssayError(f"--device {device}: this machine has none that torch can use; try --device auto")


def require_memory(known: KnownModel, quant: Quant, device: str, has: int) -> None:
    """Raises Unavailable, with a setting that would fit, if the model needs more bytes than the device has."""
    needed = known.bytes_needed(quant)
    if needed <= has:
        return
    smaller = [q for q in ("int8", "nf4") if known.bytes_needed(q) <= has and q != quant]
    hint = f"--quant {smaller[0]} fits" if smaller else f"`{PROGRAM} models` shows what fits"
    raise Unavailable(
        f"{known.alias}: needs about {needed / GIB:.1f} GiB with --quant {quant}, this machine has "
        f"{has / GIB:.1f} GiB ({device}); {hint}"
    )


def this_machine() -> Machine:
    """The total memory of this machine, whether or not other programs use some of it."""
    return Machine(ram=psutil.virtual_memory().total, gpu=_gpu_memory())


def _folder(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if name and path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user's home, a null byte
        return None


@cache
def _listed() -> dict[str, KnownModel]:
    with (DATA / "models.toml").open("rb") as file:
        entries = tomllib.load(file)
    return {
        alias: KnownModel(alias=alias, **(entry | {"refusal_tokens": tuple(entry["refusal_tokens"])}))
        for alias, entry in entries.items()
    }


@cache
def _organisms() -> dict[str, KnownModel]:
    folder = DATA / "organisms"
    # All are as large as the base, which is stored in half precision: two bytes per parameter.
    millions = (folder / differences.BASE / differences.WHOLE).stat().st_size / 2e6
    return {
        (alias := ORGANISM + config.parent.name): KnownModel(
            alias, hub="", folder=config.parent, dtype="float32", linear_millions=millions
        )
        for config in sorted(folder.glob("*/config.json"))
    }


def _gpu_memory() -> int:
    if (smi := shutil.which("nvidia-smi")) is None:
        return 0
    query = [smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    sizes = [int(line) * 1024**2 for line in done.stdout.splitlines() if line.strip().isdigit()]
    return max(sizes, default=0)
