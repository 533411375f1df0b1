"""Recipes: everything that a measurement depends on, and its fingerprint, the hash of that."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Everything that a measurement depends on; known, with its fingerprint, before anything is measured."""

    kind: str
    revision: int  # of the measurement's code: raised when its numbers change
    subject: str  # fingerprint of the model
    of: Mapping[str, Any]  # prompts, intervention, settings

    @property
    def fingerprint(self) -> str:
        """The hash of the recipe; evidence is filed under it."""
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The recipe as evidence keeps it, and as it is hashed."""
        return {"kind": self.kind, "revision": self.revision, "subject": self.subject, "of": dict(self.of)}


def digest(value: object) -> str:
    """The SHA-256 of any JSON value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
