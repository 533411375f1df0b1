"""Recipes: everything that a measurement depends on, and the fingerprint that follows from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """All that a measurement depends on; its fingerprint is known before anything is measured."""

    kind: str
    revision: int  # of the measuring function: raised when its numbers change
    subject: str  # fingerprint of the model
    of: Mapping[str, Any]  # prompts, intervention, settings

    @property
    def fingerprint(self) -> str:
        """Names the evidence."""
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """For the file, and for the fingerprint."""
        return {"kind": self.kind, "revision": self.revision, "subject": self.subject, "of": dict(self.of)}


def digest(value: object) -> str:
    """Of anything that JSON can hold, the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
