"""Names of models in the ids of tests: turns a name into harmless characters, and an id back into its model."""

import hashlib
import re
from collections.abc import Sequence

# Characters with a meaning in HTML, shells or pytest are replaced. A tilde stands only where a name was changed.
_OTHERS = re.compile(r"[^A-Za-z0-9._:/@+-]|:(?=:)|(?<=:):")
_LONGEST = 120


def node_id(name: str) -> str:
    """The name itself if all its characters are harmless; else its harmless characters and a hash of the name."""
    kept = _OTHERS.sub("_", name)
    if kept == name and 0 < len(name) <= _LONGEST:
        return name
    return f"{kept[-_LONGEST:]}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def model_of(nodeid: str, names: Sequence[str]) -> str | None:
    """Which of these models a test runs on, by the parameters in its id; None if on none of them."""
    parameters = nodeid.rpartition("::")[2].partition("[")[2].removesuffix("]")
    ids = {node_id(name): name for name in names}
    if parameters in ids:
        return ids[parameters]
    return ids.get(max((name for name in ids if name in parameters), key=len, default=""))
