"""Calls of libraries on a stranger's files: what they raise becomes one sentence. Never wrapped around our own code."""

from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from harness.inputs.errors import AssayError

# What libraries raise on files that are not what they claim to be.
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
    """Around the library's call alone, so that a mistake of ours is never called damage of theirs.

    `more` are errors of that library's own.
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
    """Whether it says that there is no memory left."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_RAN_OUT)


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
