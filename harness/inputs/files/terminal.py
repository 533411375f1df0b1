"""Prints text from strangers without letting it control the terminal."""

import unicodedata

# Control characters, lone surrogates, line separators, and marks that reverse the order of letters.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners are kept: some scripts and emoji need them.
_JOINERS = frozenset("\u200c\u200d")


def shown(text: str) -> str:
    """The text on a single line, with control characters as escapes."""
    if text.isprintable():
        return text
    return "".join(_escaped(sign) if _commands(sign) else sign for sign in text)


def lines_shown(text: str) -> str:
    """The text with control characters as escapes, its line breaks kept."""
    return "\n".join(map(shown, text.split("\n")))


def say(text: str) -> None:
    """Prints text made safe by `lines_shown`, and flushes."""
    print(lines_shown(text), flush=True)


def _commands(sign: str) -> bool:
    return unicodedata.category(sign) in _ESCAPED and sign not in _JOINERS


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
