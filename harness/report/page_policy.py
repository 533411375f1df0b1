"""What a page of ours may do in a browser: run and look as it was written, and ask nobody anything."""

import base64
import hashlib
from collections.abc import Iterable


def policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """A Content-Security-Policy that allows these very texts of <style> and <script>, and nothing else inline."""
    allowed = {"style-src": _hashes(styles), "script-src": _hashes(scripts), "img-src": "data:", "media-src": "data:"}
    closed = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    return "; ".join(f"{name} {value}" for name, value in (closed | allowed).items())


def _hashes(texts: Iterable[str]) -> str:
    """As browsers take them: of the text between the tags (CSP level 3, section 6.7.3.3)."""
    sums = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{one}'" for one in sums) or "'none'"
