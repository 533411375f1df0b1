"""Text of others on a terminal: shown, and never obeyed."""

import unicodedata

# Controls, halves of characters, unassigned line ends, and marks that turn the order of letters about.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners: scripts and emoji are written with them.
_JOINERS = frozenset("\u200c\u200d")


def shown(text: str) -> str:
    """The text in one line, its control characters as escapes, so that they are read and not carried out."""
    if text.isprintable():
        return text
    return "".join(_escaped(sign) if _commands(sign) else sign for sign in text)


def lines_shown(text: str) -> str:
    """The same line by line."""
    return "\n".join(map(shown, text.split("\n")))


def say(text: str) -> None:
    """Prints it at once, as `lines_shown` has it."""
    print(lines_shown(text), flush=True)


def _commands(sign: str) -> bool:
    return unicodedata.category(sign) in _ESCAPED and sign not in _JOINERS


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
