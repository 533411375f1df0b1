"""What newcomers and successors read: links lead somewhere, commands stand once, forms hold what they must."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.__main__ import parser
from harness.inputs.places import HOME

PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").glob("*.md"), *(HOME / ".github").glob("*.md")])
README = (HOME / "README.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def form(name: str) -> dict[str, Any]:
    text = (HOME / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8")
    whole: dict[str, Any] = yaml.safe_load(text)
    return whole


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_the_readme_is_short_and_has_each_command_once() -> None:
    assert len(README.splitlines()) <= 90
    lines = re.findall(r"^    (\S.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    commands = [line for line in lines if line.startswith(("make", ".venv", "pytest", "pip", "assay"))]
    assert len(commands) >= 6
    assert sorted(commands) == sorted(set(commands))


def test_a_claim_is_proposed_with_all_that_a_claim_must_say() -> None:
    required = {part["id"] for part in form("claim")["body"] if part.get("validations", {}).get("required")}
    assert required == {"source", "sentence", "bar", "holds_on", "fails_on"}


@pytest.mark.parametrize("name", ["claim", "defect", "model"])
def test_issue_forms_are_what_github_reads(name: str) -> None:
    whole = form(name)
    assert {"name", "description", "body"} <= whole.keys()
    ids = [part["id"] for part in whole["body"]]
    assert len(ids) == len(set(ids))
    for part in whole["body"]:
        assert part["type"] in {"input", "textarea", "dropdown", "markdown", "checkboxes"}
        assert part["attributes"]["label"]


def test_pre_commit_runs_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((HOME / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    linters = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert [hook["entry"] for hook in hooks] == linters


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((HOME / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= cited.keys()
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert project["description"].lower() in cited["title"].lower()


def test_the_row_of_a_known_model_in_the_guide_is_one_of_the_list() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (HOME / "docs" / "adding-a-model.md").read_text(), re.DOTALL)
    listed = tomllib.loads((HOME / "data" / "models.toml").read_text(encoding="utf-8"))
    assert tomllib.loads(block).items() <= listed.items()


def test_the_claim_in_the_readme_is_that_of_the_guide() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert block in (HOME / "docs" / "adding-a-claim.md").read_text(encoding="utf-8")


COMMANDS = [
    (page.name, command)
    for page in PAGES
    for command in re.findall(
        r"^ {4}(?:\.venv/bin/)?(?:python -m harness|assay) (.*?)(?:\s{2,}#.*)?$", page.read_text(), re.MULTILINE
    )
]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_helper_command_in_the_documents_is_one(page: str, command: str) -> None:
    words = shlex.split(command)
    # What follows `judge` is for pytest.
    assert callable(parser().parse_args(words[:1] if words[0] == "judge" else words).run)
