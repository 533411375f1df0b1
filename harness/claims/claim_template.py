"""Writes a new claim file, which runs as it is and is then edited."""

import re
from pathlib import Path

from harness.claims.claim import claims_in
from harness.inputs.errors import AssayError
from harness.inputs.places import HYPOTHESES

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

DRAFT = '''"""The topic that the claims of this file share, and how they are measured."""

from harness import claim, remove


@claim("{name}", source="the paper or plan this is from", holds_on="reference", fails_on="flat")
def test_{function}(model, pairs):
    """Removing one direction everywhere lowers refusal by more than 30 points."""
    direction = model.direction(pairs.discovery)
    fall = model.refuses(pairs.heldout).fall(under=remove(direction))
    assert fall > 0.30
'''


def draft(name: str, folder: Path = HYPOTHESES) -> Path:
    """Writes the file of a new claim and returns its path; never overwrites a file."""
    if not _NAME.fullmatch(name):
        words = "-".join(re.findall(r"[a-z0-9]+", name.lower())).lstrip("0123456789-")
        hint = f", such as {words}" if words else ""
        raise AssayError(f"{name!r} cannot name a claim; give words of a to z and 0 to 9 joined by hyphens{hint}")
    path = folder / f"test_{name.replace('-', '_')}.py"
    if path.exists():
        raise AssayError(f"{path}: there is such a file already; give another name, or edit that one")
    if other := next((known for known in claims_in(folder) if known.name == name), None):
        raise AssayError(f"{other.place}: a claim named {name!r} is there already; give another name")
    try:
        path.write_text(DRAFT.format(name=name, function=name.replace("-", "_")), encoding="utf-8")
    except OSError as error:
        raise AssayError(f"{path}: cannot be written ({error.strerror})") from None
    return path
