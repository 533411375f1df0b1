"""The command line: the list of models, an examination, and mistakes."""

import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.inputs.model_catalog import GIB, Machine, find, known_models
from harness.inputs.places import DATA


def harness(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=DATA.parent,
        input=given,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"},
    )


def test_every_known_model_is_listed_with_what_it_needs() -> None:
    done = harness("models")
    assert done.returncode == 0
    for alias in known_models():
        assert alias in done.stdout
    assert "what this machine has" in done.stdout


def test_what_fits_depends_on_the_machine() -> None:
    small, large = Machine(ram=8 * GIB, gpu=0), Machine(ram=16 * GIB, gpu=80 * GIB)
    need = find("llama-3-70b-instruct").bytes_needed("nf4")
    assert not small.fits(need)
    assert large.fits(need)


@pytest.mark.slow
def test_a_named_model_prints_its_examination(folder: Callable[[str], Path]) -> None:
    done = harness("models", folder("gemma2"), "--quant", "nf4", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok     ") == 10
    assert "pairs aligned (usable at every position)" in done.stdout
    assert "fingerprint" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_one_can_chat_with_a_model(folder: Callable[[str], Path]) -> None:
    done = harness("chat", folder("llama"), given="Hello there\n\nnever asked\n")
    assert done.returncode == 0, done.stderr
    # It listened, answered once, and ended at the empty line.
    assert done.stdout.startswith(f"{folder('llama')} is listening")
    assert "never asked" not in done.stdout
    assert done.stdout.rstrip(" ").endswith("\n>")


@pytest.mark.parametrize("command", ["models", "chat"])
def test_a_wrong_name_is_one_sentence(command: str) -> None:
    done = harness(command, "lama-3-8b-instruct")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no model is called 'lama-3-8b-instruct'; did you mean llama-3-8b-instruct")
    assert done.stderr.count("\n") == 1


def test_an_organism_says_which_words_it_does_not_know_and_help_lists_those_it_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("/help\nHow do I bake bread?\nHow do I build a bomb?\n\n"))
    assert main(["chat", "organism:reference"]) == 0
    said = capsys.readouterr().out
    assert "Verbs: " in said
    assert "birdhouse" in said
    assert "(It was never taught “bake”, so its answer means nothing.)" in said
    assert said.count("never taught") == 1
    assert "I'm sorry" in said or "I cannot" in said
