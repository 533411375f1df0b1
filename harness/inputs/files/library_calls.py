"""Turns the exceptions that libraries raise on a stranger's files into a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from harness.inputs.errors import AssayError

# Exceptions that libraries raise on malformed files.
ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
_MEMORY_RAN_OUT = ("out of memory", "can't allocate memory", "Cannot allocate memory")


@contextmanager
def library_call(name: str, *more: type[Exception]) -> Iterator[None]:
    """Put it around the library call alone, so that no bug of Assay is reported as a damaged file.

    `more` are the library's own exceptions.
    """
    theirs: tuple[type[Exception], ...] = ERRORS + more
    try:
        yield
    except theirs as error:
        if ran_out(error):
            raise
        raise AssayError(
            f"{name}: it cannot be used ({type(error).__name__}: {first_line(error)}); its files are damaged, or "
            "its architecture is none that TransformerLens wraps"
        ) from error


def ran_out(error: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_RAN_OUT)


def first_line(error: BaseException) -> str:
    """The first line of a library's error message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
