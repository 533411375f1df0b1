"""Errors whose messages are sentences for the user: what is wrong, where, and what to do about it."""

from harness.inputs.files.terminal import lines_shown


class AssayError(Exception):
    """Bad input; the message is a sentence that a person can act on."""

    def __str__(self) -> str:
        # The message may quote an untrusted file.
        return lines_shown(super().__str__())


class Misuse(AssayError, TypeError):
    """A value of the wrong type, or an argument that a function does not take."""


class Unavailable(AssayError):
    """A model that cannot be loaded on this machine now (gated, offline, too big): the claim is skipped."""


class Refused(AssayError):
    """A model that cannot be used, or that failed its self-examination, so that its measurements cannot be trusted."""


class NotMeasured(AssayError):
    """A measurement is missing, and `--judge-only` measures nothing."""
