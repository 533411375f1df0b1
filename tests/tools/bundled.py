"""Bundles made of members at will, and how they are taken or refused, for tests of a stranger's bundles."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.measurements.evidence import Store
from harness.results.bundle import Unbundled, bundle, unbundle
from tests.tools import stories

CLAIMS, MODEL = ("rises", "falls"), "told"
Members = dict[str, bytes]


def a_run(folder: Path) -> Path:
    """The folder of a run that was told, beside its evidence."""
    return stories.told(folder, CLAIMS, [MODEL], stories.pairs(40))


def members_of(told: Path, path: Path) -> Members:
    """The members of that run's bundle."""
    bundle(told, Store(told.parents[1] / "evidence"), path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(members: Mapping[str, bytes], to: Path) -> Path:
    """These members as a bundle, listed as they are where there is a list."""
    members = dict(members)
    if "manifest.json" in members:
        listed = {
            name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            for name, raw in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps({"schema": 1, "run": "told", "members": listed}).encode()
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as file:
        for name, raw in members.items():
            file.writestr(name, raw)
    return to


def taken(path: Path, **more: str) -> Unbundled:
    there = path.parent / "there"
    return unbundle(path, Store(there / "evidence"), there / "runs", **more)


def refused(path: Path, said: str) -> None:
    """One sentence about the bundle, and nothing is there that was not before."""
    before = tree(path.parent)
    with pytest.raises(AssayError, match=said) as caught:
        taken(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    assert ".writing-" not in sentence
    assert tree(path.parent) == before


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
