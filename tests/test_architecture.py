"""Facts of an architecture are read off its blocks, whatever their MLPs are made of."""

from pathlib import Path

import pytest
import torch
import transformers as hf

from harness.inputs.errors import AssayError
from harness.instruments.editing import orthogonalized
from harness.model.architecture import Architecture
from harness.model.wake import wake
from tests.tools import shapes


def test_a_mixture_of_experts_has_facts_though_its_mlp_has_no_output_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All experts are asked: where a router chooses, its logits have steps, and the gradient differs from a difference.
    experts = {"num_local_experts": 4, "num_experts_per_tok": 4, "sliding_window": None}
    mixtral = (hf.MixtralConfig, shapes._COMMON | experts, shapes._MISTRAL)
    monkeypatch.setitem(shapes.SHAPES, "mixtral", mixtral)
    model = wake(str(shapes.build("mixtral", tmp_path / "mixtral")), quant="none", device="cpu")
    assert model.architecture == Architecture(normalizes_writes=False, biases_writes=False, mixes_experts=True)
    with (
        pytest.raises(AssayError, match="mixes experts, whose weights cannot be orthogonalized here; use remove"),
        orthogonalized(model, torch.ones(model.sizes.d_model)),
    ):
        pass
    model.close()
