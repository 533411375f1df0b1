"""Fixtures of the harness's own tests: tiny models in eight shapes, each written and loaded once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from harness.inputs.model_catalog import Quant
from harness.model.chat_model import ChatModel
from harness.model.wake import wake
from tests.tools import shapes


def pytest_configure(config: pytest.Config) -> None:
    """Here a warning is an error; people's claims only show theirs."""
    for line in (
        "error",
        "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
        "ignore:bitsandbytes..gemv_4bit. an autograd kernel was not registered:UserWarning",
    ):
        config.addinivalue_line("filterwarnings", line)


# How fast examples are drawn says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Tiny matrices: a second thread costs more than it brings, and far more on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of that shape."""

    @cache
    def of(shape: str) -> Path:
        return shapes.build(shape, tmp_path_factory.mktemp("shapes") / shape)

    return of


@pytest.fixture(scope="session")
def awake(folder: Callable[[str], Path]) -> Callable[..., ChatModel]:
    """A tiny model of that shape and quantization, loaded and examined."""

    @cache
    def of(shape: str = "llama", quant: Quant = "none") -> ChatModel:
        return wake(str(folder(shape)), quant=quant, device="cpu")

    return of
