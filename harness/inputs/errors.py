"""Errors that are sentences to the user: what is wrong, where, and what to do about it."""

from harness.inputs.files.terminal import lines_shown


class AssayError(Exception):
    """Bad input; the message is one sentence that a person can act on."""

    def __str__(self) -> str:
        # It may quote a stranger's file.
        return lines_shown(super().__str__())


class Misuse(AssayError, TypeError):
    """A value that is used as what it is not, or an argument that a function does not take."""


class Unavailable(AssayError):
    """A model that cannot be had on this machine now (gated, offline, too big): a reason to skip."""


class Refused(AssayError):
    """A model that cannot be used, or that failed its self-examination: nothing it measures could be trusted."""


class NotMeasured(AssayError):
    """Judging from evidence alone came to something that was never measured."""
