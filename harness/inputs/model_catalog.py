"""The models Assay knows by name, what memory they need, and whether this machine has it. No torch."""

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
from harness.inputs.places import DATA, PROGRAM

Quant = Literal["nf4", "int8", "none"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
QUANTS: tuple[Quant, ...] = get_args(Quant)
ORGANISM = "organism:"
GIB = 1024**3

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]{1,96}")
_COMMIT = re.compile(r"(?:[0-9a-f]{40})?")

# Bytes a weight takes: NF4 holds 4 bits and one 32-bit scale for every 64 weights.
_BYTES_PER_WEIGHT: dict[Quant, float] = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
_BYTES_PER_NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
# Activations, K/V and the largest layer in flight while loading, as a share of the weights.
_BESIDE_WEIGHTS = 0.25


@dataclass(frozen=True)
class KnownModel:
    """One entry of data/models.toml, or an unlisted model with nothing but a place to load from."""

    alias: str
    hub: str  # hub id; empty for a local folder
    folder: Path | None = None  # where the files are, if they need no hub
    revision: str | None = None
    dtype: str = "auto"
    embedding_millions: float = 0.0  # parameters that stay unquantized
    linear_millions: float = 0.0  # parameters that --quant shrinks
    refusal_tokens: tuple[str, ...] = ()
    chat_arguments: dict[str, object] = field(default_factory=dict)
    gated: bool = False
    notes: str = ""

    @property
    def pairs(self) -> Path:
        """The pairs this model is judged on: organisms bring their own."""
        return DATA / ("organisms/pairs.jsonl" if self.alias.startswith(ORGANISM) else "pairs.jsonl")

    def computed_in(self, dtype: Dtype) -> "KnownModel":
        """The same model in that dtype; auto leaves it as it is listed."""
        return self if dtype == "auto" else replace(self, dtype=dtype)

    def bytes_needed(self, quant: Quant) -> int:
        """Memory for the weights and what measuring needs beside them; 0 when not known."""
        full = _BYTES_PER_NUMBER.get(self.dtype, 2)
        weights = self.embedding_millions * full
        weights += self.linear_millions * (full if quant == "none" else _BYTES_PER_WEIGHT[quant])
        return round(weights * 1e6 * (1 + _BESIDE_WEIGHTS))


@dataclass(frozen=True)
class Machine:
    """The memory this machine has, in bytes; `gpu` is 0 where nvidia-smi finds none."""

    ram: int
    gpu: int

    def fits(self, needed: int) -> bool:
        """Whether a model of that need can be held, on the GPU or in memory."""
        return needed <= max(self.ram, self.gpu)


def known_models() -> dict[str, KnownModel]:
    """Every alias with its entry: data/models.toml first, then the embedded organisms."""
    return _listed() | _organisms()


def readable(size: int) -> str:
    """Bytes, in the unit that people use for so many."""
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
    """`A or B`, the closest known names, or nothing."""
    names = {alias.lower(): alias for alias in known_models()}
    names |= {alias.removeprefix(ORGANISM): alias for alias in _organisms()}
    names |= {entry.hub.lower(): entry.hub for entry in _listed().values()}
    found = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.6)
    return " or ".join(dict.fromkeys(names[match] for match in found))


def require_device(asked: Device) -> None:
    """One sentence where torch cannot compute on it; loads torch if anything but a CPU is asked for."""
    if asked in ("auto", "cpu"):
        return
    import torch  # for a machine that is said to have one

    there = torch.cuda.is_available() if asked == "cuda" else torch.backends.mps.is_available()
    if not there:
        raise AssayError(f"--device {asked}: this machine has none that torch can use; try --device auto")


def require_memory(known: KnownModel, quant: Quant, device: str, has: int) -> None:
    """One sentence, with what would fit, where the model needs more bytes than there are."""
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
    """What memory there is in all: other programs' use is theirs to give back."""
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
    found = {}
    for weights in sorted((DATA / "organisms").glob("*/model.safetensors")):
        alias = ORGANISM + weights.parent.name
        # Stored in half precision, judged in full: two bytes on disk for every parameter.
        millions = weights.stat().st_size / 2e6
        found[alias] = KnownModel(alias, hub="", folder=weights.parent, dtype="float32", linear_millions=millions)
    return found


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
