"""The circumstances of a measurement: library versions, machine, memory, and this project's commit."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

import psutil

from harness.inputs.places import HOME

# These libraries change measured numbers, so their versions are part of every model's fingerprint.
NUMERIC = ("torch", "transformers", "transformer-lens", "bitsandbytes")
# These only decide how numbers are stored and judged.
OTHERS = ("numpy", "scipy", "safetensors", "pytest")


class Machine(TypedDict):
    """The machine of a measurement."""

    system: str
    python: str
    processor: str
    cores: int | None
    bytes: int


@cache
def libraries() -> dict[str, str]:
    """The installed version of each library that matters to a measurement."""
    return {name: installed for name in (*NUMERIC, *OTHERS) if (installed := _version(name))}


def numeric(versions: dict[str, str]) -> dict[str, str]:
    """The versions that change numbers, without local build tags such as `+cpu`."""
    return {name: versions[name].split("+")[0] for name in NUMERIC if name in versions}


@cache
def machine() -> Machine:
    """A description of this machine."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "bytes": psutil.virtual_memory().total,
    }


def measured(device: str, seconds: float, peak: int) -> dict[str, Any]:
    """The circumstances that are stored with a measurement made just now on this machine."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    here = {"libraries": libraries(), "machine": machine(), "device": device}
    return here | {"when": when, "seconds": seconds, "peak_bytes": peak}


def peak_bytes() -> int:
    """The peak memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def commit(root: Path = HOME) -> str | None:
    """The commit of this project, with -dirty where files were changed; None if it is no repository of its own."""
    top, _, head = _git(root, "rev-parse", "--show-toplevel", "HEAD").partition("\n")
    if not head or Path(top).resolve() != root.resolve():  # inside another project's repository
        return None
    return head + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str:
    if (git := shutil.which("git")) is None:
        return ""
    # Git refuses repositories of other owners; this one is safe, since its code is running already.
    safe = ("-c", f"safe.directory={root.resolve().as_posix()}")
    # In a git hook these variables name another repository.
    of_hooks = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
    environment = {name: value for name, value in os.environ.items() if name not in of_hooks}
    command = [git, "-C", str(root), *safe, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
