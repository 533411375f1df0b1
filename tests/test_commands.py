"""The command line: what each command says of itself, and how a run is named."""

import shlex
from pathlib import Path

import pytest

from harness.__main__ import main, parser
from harness.claims.claim import claims_in
from harness.inputs.errors import AssayError
from harness.results.run_list import chosen, listed
from harness.results.run_record import Run


def commands() -> list[tuple[str, str]]:
    """Every command's name and the example in its --help."""
    examples = []
    for action in parser()._subparsers._group_actions:  # type: ignore[union-attr]
        for name, command in action.choices.items():  # type: ignore[union-attr]
            examples.append((name, command.get_default("example")))
    return examples


@pytest.mark.parametrize(("name", "example"), commands())
def test_the_example_of_each_command_is_one_of_that_command_and_parses(name: str, example: str) -> None:
    words = shlex.split(example)
    assert words[0] == name
    assert callable(parser().parse_args(words).run)


@pytest.mark.parametrize(("name", "example"), commands())
def test_each_help_says_what_the_command_does_and_shows_its_example(
    name: str, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert text.rstrip().endswith(f"python -m harness {example}")
    described = text.partition("\n\n")[2].partition("\n\n")[0]
    assert described[0].isupper()
    assert described.endswith(".")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs, the last of them the newest, and one that nobody can read."""
    for day in ("04", "05", "06"):
        made = Run(command=["pytest"], quant="nf4", device="cpu", started=f"2026-10-{day}T00:00:00+00:00")
        made.save(tmp_path / "runs" / f"202610{day}T000000Z-abc{day}")
    (tmp_path / "runs" / "20261007T000000Z-broken").mkdir()
    (tmp_path / "runs" / "20261007T000000Z-broken" / "run.json").write_text("{")
    return tmp_path / "runs"


def test_a_run_is_named_by_last_its_number_a_beginning_its_name_or_its_folder(runs: Path) -> None:
    newest, oldest = runs / "20261006T000000Z-abc06", runs / "20261004T000000Z-abc04"
    for name in (None, "last", "1", "20261006", newest.name, str(newest), f"{newest}/run.json"):
        assert chosen(name, runs) == newest
    assert chosen("3", runs) == chosen("20261004", runs) == oldest
    assert [run.folder for run in listed(runs)][2] == oldest


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("2026100", r"2026100: 4 runs have names that begin so: 2026100.*; give more of the name"),
        ("20261006T000000Z-abd06", r"there is no run '20261006T000000Z-abd06'; did you mean 20261006T000000Z-abc06\?"),
        ("9", r"there is no run '9'; `python -m harness runs` lists all 4"),
    ],
)
def test_a_name_of_no_run_or_of_several_is_one_sentence(runs: Path, name: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        chosen(name, runs)


def test_runs_are_listed_with_their_numbers_and_how_they_ended(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["runs", "--reports", str(runs.parent)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[1][1:3] == ["2026-10-06", "00:00"]
    assert "interrupted," in lines[1]
    assert lines[1][-1] == "20261006T000000Z-abc06"
    assert "cannot" in lines[4] or "JSON" in " ".join(lines[4])


def test_a_folder_without_runs_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--reports", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'runs'}: no run yet; judge claims first: pytest hypotheses\n"
    )


def test_truth_of_words_in_no_claims_name_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["truth", "-k", "no-such-claim"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: -k no-such-claim: no claim's name contains this; there are ")
    assert all(claim.name in said for claim in claims_in())


def test_a_claim_that_only_one_run_has_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day, claims in (("04", ("first", "both")), ("05", ("both",))):
        made = Run(command=["pytest"], quant="nf4", device="cpu", started=f"2026-10-{day}T00:00:00+00:00")
        made.verdicts = [
            {
                "claim": claim, "model": "m", "test": claim, "word": "SKIPPED", "reason": "", "estimates": [],
                "evidence": [], "seconds": 0.0,
            }
            for claim in claims
        ]  # fmt: skip
        made.save(tmp_path / "runs" / f"202610{day}T000000Z-abc{day}")
    assert main(["compare", "2", "last", "--reports", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "only in 20261004T000000Z-abc04: 1 claim" in " ".join(text.split())
    row = next(line for line in text.splitlines() if line.startswith("first"))
    assert "1 SKIPPED" in row
    assert "not in" in row
