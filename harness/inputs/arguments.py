"""Checks arguments against a function's annotations, and says in a sentence what was wrong with one."""

import difflib
import inspect
import math
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.inputs.errors import Misuse

Given = ParamSpec("Given")
Result = TypeVar("Result")
Class = TypeVar("Class", bound=type)

# The name of each class in messages, and an example of how a claim gets a value of it.
_NOUNS = {
    "PairSet": ("a set of pairs", "pairs.heldout"),
    "PromptLists": ("lists of prompts", ""),
    "Pair": ("a pair", ""),
    "Subject": ("a model", ""),
    "RecordedSubject": ("a recorded model", ""),
    "Refusals": ("model.refuses(…)", ""),
    "Depths": ("model.depths(…)", ""),
    "Geometry": ("model.geometry(…)", ""),
    "SideEffects": ("model.side_effects(…)", ""),
    "Estimate": ("an estimate", ""),
    "Comparison": ("a comparison with a bar", ""),
    "Effects": ("a table of effects", ""),
    "Circuit": ("a circuit", "model.circuit(pairs.discovery, heads=10)"),
    "Direction": ("a direction", "model.direction(pairs.discovery)"),
    "Patch": ("a patch", "patch(circuit)"),
    "Ablate": ("an ablation", "ablate(circuit)"),
    "Together": ("several interventions", ""),
    "Remove": ("a removal", "remove(direction)"),
    "Add": ("an addition", "add(direction)"),
    "Intervention": ("an intervention", "remove(direction) or patch(circuit)"),
    "Site": ("a site", 'Site(3, "head", 1)'),
    "int": ("a whole number", ""),
    "float": ("a number", ""),
    "str": ("a text", ""),
    "bool": ("True or False", ""),
}


def checked(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Makes a function refuse arguments that do not fit its annotations."""
    signature = inspect.signature(function)
    name = function.__qualname__ if "cls" in signature.parameters else function.__name__
    hints = cache(lambda: get_type_hints(function))  # resolved late: annotations may name classes defined further down

    @wraps(function)
    def asked(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            raise Misuse(f"{name}: {_misfit(signature, args, kwargs)}") from None
        for argument, value in given.items():
            if argument in hints() and not fits(value, hint := hints()[argument]):
                raise Misuse(f"{name}: {refusal(argument, value, hint)}")
        return function(*args, **kwargs)

    return asked


def all_checked(kind: Class) -> Class:
    """Applies `checked` to every public method of a class."""
    for name, member in list(vars(kind).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, types.FunctionType):
            setattr(kind, name, checked(member))
        elif isinstance(member, classmethod):
            setattr(kind, name, classmethod(checked(member.__func__)))
    return kind


def check_fields(value: Any, *names: str) -> None:
    """Refuses a dataclass whose named fields do not fit their annotations."""
    hints = _hints(value.__class__)
    for name in names:
        if not fits(getattr(value, name), hints[name]):
            raise Misuse(f"{type(value).__name__}: {refusal(name, getattr(value, name), hints[name])}")


def fits(value: object, hint: Any) -> bool:
    """Whether a value fits an annotation; an annotation of an unknown form lets every value through."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin in (Union, types.UnionType):
        return any(fits(value, alternative) for alternative in inner)
    if hint in (float, int):
        wanted = Real if hint is float else Integral
        return isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value)
    if origin is tuple:
        return _holds(value, inner)
    if origin in (Iterable, Sequence):
        if isinstance(value, Iterator):
            return origin is Iterable
        if not isinstance(value, Iterable) or isinstance(value, str):
            return False
        return all(fits(member, inner[0]) for member in value)
    if origin is not None or not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return True
    return isinstance(value, hint)


def refusal(name: str, value: object, hint: Any) -> str:
    """The sentence that refuses a value: what the argument may be, and what was given."""
    words = tuple(leaf for leaf in _leaves(hint) if isinstance(leaf, str))
    near = did_you_mean(value, words) if isinstance(value, str) else ""
    odd = _odd(value, hint)
    given = f"{called(value)} was given" if odd is None else f"{odd} is among those given"
    return f"`{name}` is {' or '.join(_meant(hint))}, and {given}{near}"


def did_you_mean(word: str, words: Collection[str]) -> str:
    """`; did you mean …?` with the nearest word, to end a sentence with; empty where no word is near."""
    close = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def listed(names: Iterable[str], last: str = "and") -> str:
    """Names as a list in a sentence: `a, b and c`."""
    *rest, end = names
    return f"{', '.join(rest)} {last} {end}" if rest else end


def called(value: object) -> str:
    """A value in the words of a claim's author."""
    match value:
        case None:
            return "None"
        case str():
            return repr(value if len(value) <= 40 else f"{value[:39]}…")
        case bool() | int() | float():
            return repr(value)
        case type():
            return f"the class {value.__name__}"
        case _ if callable(value) and hasattr(value, "__name__"):
            return f"the function `{value.__name__}` itself"
    return noun(type(value))


def noun(kind: type) -> str:
    """The noun for an object of a class, such as `a direction`."""
    for base in kind.__mro__:
        if base.__name__ in _NOUNS:
            return _NOUNS[base.__name__][0]
    return f"a {kind.__name__}"


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _holds(value: object, inner: tuple[Any, ...]) -> bool:
    if len(inner) == 2 and inner[1] is Ellipsis:  # stored unchanged, so a list will not do
        return isinstance(value, tuple) and all(fits(member, inner[0]) for member in value)
    return (
        isinstance(value, tuple | list)
        and len(value) == len(inner)
        and all(fits(member, hint) for member, hint in zip(value, inner, strict=True))
    )


def _odd(value: object, hint: Any) -> str | None:
    """The first member that does not fit, where a list is allowed and the value is a list."""
    for leaf in _leaves(hint):
        several = get_origin(leaf) in (Iterable, Sequence) or (get_origin(leaf) is tuple and isinstance(value, tuple))
        if several and isinstance(value, Iterable) and not isinstance(value, str | Iterator):
            return next((called(member) for member in value if not fits(member, get_args(leaf)[0])), None)
    return None


def _leaves(hint: Any) -> Iterator[Any]:
    """The allowed words and classes of an annotation, alternatives flattened."""
    if get_origin(hint) in (Union, types.UnionType, Literal):
        for alternative in get_args(hint):
            yield from _leaves(alternative)
    else:
        yield hint


def _meant(hint: Any) -> Iterator[str]:
    """The values that an annotation allows, in words."""
    leaves = list(_leaves(hint))
    if words := [repr(leaf) for leaf in leaves if isinstance(leaf, str)]:
        yield listed(words, "or")
    for leaf in leaves:
        if isinstance(leaf, str) or leaf is type(None):
            continue
        inner = get_args(leaf)
        if get_origin(leaf) is tuple and inner == (int, ...):
            yield "positions from the end such as (-1,)"
        elif get_origin(leaf) is tuple and Ellipsis in inner:
            yield f"a tuple, each {' or '.join(_meant(inner[0]))}"
        elif get_origin(leaf) is tuple:
            yield f"({', '.join(' or '.join(_meant(member)) for member in inner)})"
        elif get_origin(leaf) is not None:
            yield f"a list, each {' or '.join(_meant(inner[0]))}"
        else:
            word, source = _NOUNS.get(getattr(leaf, "__name__", ""), (f"a {getattr(leaf, '__name__', leaf)}", ""))
            yield f"{word} such as {source}" if source else word


def _misfit(signature: inspect.Signature, args: Sequence[object], kwargs: Collection[str]) -> str:
    """Why a call does not fit the function: an unknown argument, too many, or missing ones."""
    takes = [parameter for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")]
    given = len(args) - (len(signature.parameters) - len(takes))
    names = [parameter.name for parameter in takes]
    placed = [parameter.name for parameter in takes if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    for name in kwargs:
        if name not in names:
            takes_words = f"; it takes {listed(names) if names else 'none'}"
            return f"there is no argument `{name}`{did_you_mean(name, names) or takes_words}"
    if given > len(placed):
        by_name = [name for name in names if name not in placed]
        more = f"; {listed(by_name)} go by name, such as {by_name[0]}=…" if by_name else ""
        in_order = f"{len(placed)} in order ({listed(placed)})" if placed else "none in order"
        return f"{given} were given in order, and it takes {in_order}{more}"
    for name in placed[:given]:
        if name in kwargs:
            return f"`{name}` was given twice"
    empty = inspect.Parameter.empty
    missing = [f"`{each.name}`" for each in takes[given:] if each.default is empty and each.name not in kwargs]
    return f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} missing"
