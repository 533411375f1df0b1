"""pytest's side of Assay: the options of judging, and one model at a time for the claims."""

from typing import get_args

import pytest

from harness import catalog, pairs
from harness.errors import AssayError

DEFAULT_MODELS = ("organism:reference",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of judging; everything else is `python -m harness`."""
    group = parser.getgroup("assay", "Assay: which models are judged, on which prompts")
    group.addoption(
        "--model",
        action="append",
        metavar="NAME",
        help="alias, hub id, local folder or organism:NAME; may be repeated (default: organism:reference)",
    )
    group.addoption("--pairs", metavar="PATH", help="your own prompt pairs: .jsonl or .csv")
    group.addoption("--quant", choices=get_args(catalog.Quant), default="nf4", help="default: nf4")
    group.addoption("--device", choices=get_args(catalog.Device), default="auto", help="default: auto")
    group.addoption("--strict-models", action="store_true", help="a model that cannot be had is an error, not a skip")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses bad input before anything is collected or any worker started."""
    if hasattr(config, "workerinput"):
        return
    try:
        for name in config.getoption("--model") or ():
            catalog.find(name)
        if path := config.getoption("--pairs"):
            pairs.load(path)
    except AssayError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs every claim on every model, grouped so that each model is loaded once."""
    if "model" in metafunc.fixturenames:
        names = models_asked(metafunc.config)
        metafunc.parametrize("model", names, indirect=True, scope="session")


def models_asked(config: pytest.Config) -> tuple[str, ...]:
    """The models named on the command line, each once, or the default."""
    return tuple(dict.fromkeys(config.getoption("--model") or DEFAULT_MODELS))
