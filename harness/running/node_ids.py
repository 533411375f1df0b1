"""Models in the ids of tests: harmless characters only, each model another id, and back from an id to its model."""

import hashlib
import re
from collections.abc import Sequence

# Neither markup, nor the shell, nor pytest reads anything into these. A tilde stands only where a name was changed.
_OTHERS = re.compile(r"[^A-Za-z0-9._:/@+-]|:(?=:)|(?<=:):")
_LONGEST = 120


def node_id(name: str) -> str:
    """The name itself where it is harmless; else as much of it as is, and a hash of the whole."""
    kept = _OTHERS.sub("_", name)
    if kept == name and 0 < len(name) <= _LONGEST:
        return name
    return f"{kept[-_LONGEST:]}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def model_of(nodeid: str, names: Sequence[str]) -> str | None:
    """The one of these models on which the test runs; a claim with parameters of its own has them there too."""
    parameters = nodeid.rpartition("::")[2].partition("[")[2].removesuffix("]")
    ids = {node_id(name): name for name in names}
    if parameters in ids:
        return ids[parameters]
    return ids.get(max((one for one in ids if one in parameters), key=len, default=""))
