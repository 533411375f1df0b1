"""Writes data/organisms/expected.json: what every claim must come out as on every organism, from the plans.

python -m organisms.expectations
"""

import json
from dataclasses import asdict

from organisms.plans import EXPECTED
from organisms.ship import FOLDER

PATH = FOLDER / "expected.json"


def expectations() -> dict[str, object]:
    """The content of the file: organism → claim → its expected truth, with the planted reason."""
    organisms = {
        organism: {claim: asdict(expected) for claim, expected in sorted(table.items())}
        for organism, table in sorted(EXPECTED.items())
    }
    return {"schema": 1, "organisms": organisms}


def write() -> None:
    """Writes data/organisms/expected.json; the same every time."""
    PATH.write_text(json.dumps(expectations(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
