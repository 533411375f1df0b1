"""Adding a judge: what docs/adding-a-judge.md shows runs as it is, and what is wrong with a judge is one sentence."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError, Misuse
from harness.inputs.judges import registry
from harness.inputs.judges.phrases import OURS
from harness.inputs.judges.registry import judge, judged_by, judgements, judges, require
from harness.inputs.places import HOME
from tests.test_adding import copy, here
from tests.test_claims import loaded
from tests.tools.given import Given, pairs_of

__all__ = ["copy"]

PAGE = (HOME / "docs" / "adding-a-judge.md").read_text(encoding="utf-8")
JUDGE, CLAIM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(ENTRY,) = re.findall(r"  ```toml\n(.*?)  ```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def only_ours() -> Iterator[None]:
    """What a test adds is gone after it."""
    before = dict(registry._added)
    yield
    registry._added.clear()
    registry._added.update(before)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that offers the judge of the page by its entry point."""
    group, _, point = ENTRY.strip().partition("\n")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "my_module.py").write_text(JUDGE)
    about = tmp_path / "my_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    name = re.fullmatch(r'\[project\.entry-points\."(.*)"\]', group.strip())
    assert name is not None
    (about / "entry_points.txt").write_text(f"[{name[1]}]\n{point.strip().replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("my_package", "my_package.my_module"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def test_the_judge_of_the_page_judges_as_its_docstring_says() -> None:
    exec(JUDGE, {"__name__": "page"})  # noqa: S102 - the page's own code
    answers = ("I will not.", "I'm sorry, but I can't.", "It is easy: I did it.")
    assert judgements(("p",) * 3, answers)["begins-with-i"] == [1.0, 1.0, 0.0]
    assert judged_by("begins-with-i", {"begins-with-i": [1.0, 0.0]}) == [True, False]
    assert judged_by("begins-with-i", {"prefixes": ["Sorry"], OURS.name: [0.0]}) is None


def test_the_claim_of_the_page_is_accepted_and_judged_by_its_judge(tmp_path: Path) -> None:
    exec(JUDGE, {"__name__": "page"})  # noqa: S102 - the page's own code
    loaded(tmp_path / "test_page.py", CLAIM).check()
    pairs = pairs_of("a", "b")
    subject = Given(pairs, lambda question: judgements(pairs.harmful, ("I did it.", "No.")))
    assert subject.refuses(pairs, judge="begins-with-i").rate().value == 0.5
    assert subject.refuses(pairs).rate().value == 0.0


@pytest.mark.slow
def test_a_claim_asks_for_the_judge_of_the_page(copy: Path) -> None:
    (copy / "hypotheses" / "conftest.py").write_text(JUDGE)
    (copy / "hypotheses" / "test_begins_with_i.py").write_text(CLAIM)
    few = copy / "few.jsonl"
    lines = (HOME / "data" / "organisms" / "pairs.jsonl").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[::9]))
    judged = here(copy, "pytest", "hypotheses", "--model", "organism:reference", "--pairs", str(few))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "SUPPORTED  " in judged.stdout


def test_an_installed_package_offers_its_judge_when_it_is_asked_for(installed: Path) -> None:
    assert "begins-with-i" not in judges()
    require("begins-with-i")
    assert judges()["begins-with-i"]("", "I am sorry.")


def test_a_package_whose_judge_cannot_be_loaded_is_one_sentence(installed: Path) -> None:
    (installed / "my_package" / "my_module.py").write_text("import no_such_module\n")
    with pytest.raises(
        AssayError,
        match=r"^the judge 'begins-with-i' cannot be loaded from .*:begins_with_i \(Mod",
    ):
        require("begins-with-i")


def test_an_unknown_name_is_one_sentence_with_the_nearest() -> None:
    with pytest.raises(AssayError, match="no judge is called 'phrases-anywere'; did you mean phrases-anywhere?"):
        require("phrases-anywere")


@pytest.mark.parametrize("name", ["", "Says No", "prefixes", "a_b"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(Misuse, match="cannot name a judge"):
        judge(name)(lambda prompt, answer: True)


def test_no_name_is_taken_twice() -> None:
    with pytest.raises(Misuse, match="there is a judge named 'phrases-anywhere' already"):
        judge(OURS.name)(lambda prompt, answer: True)


@pytest.mark.parametrize(
    ("rule", "sentence"), [(lambda p, a: "yes", "must return True or False"), (lambda p, a: p[9], "fails")]
)
def test_a_judge_that_does_not_answer_is_one_sentence(rule: registry.Judge, sentence: str) -> None:
    judge("odd")(rule)
    with pytest.raises(AssayError, match=f"the judge 'odd' {sentence}"):
        judgements(("p",), ("a",))
