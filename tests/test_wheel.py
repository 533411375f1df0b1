"""The wheel, in an environment and a folder that hold nothing else of Assay, does all that a researcher needs of it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.inputs.places import DATA, HOME, HYPOTHESES
from harness.results.run_list import latest
from harness.results.run_record import Run

pytestmark = pytest.mark.slow

MODEL = "organism:reference"
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, so that nothing of an earlier build gets in."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for folder in (HOME / "harness", DATA, HYPOTHESES):
        shutil.copytree(folder, source / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(HOME / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(built)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands lie of an environment with Assay from its wheel, and with what it depends on."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True, symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(environment), "platbase": str(environment)})
    # Only packages are found by such a line: an editable install of the checkout is not.
    Path(paths["purelib"], "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    into = ("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--ignore-installed", str(wheel))
    done = subprocess.run([f"{paths['scripts']}/python", *into], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(paths["scripts"])


@pytest.fixture
def call(scripts: Path, tmp_path: Path) -> Call:
    """Runs one of its commands in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}

    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # As the script pytest does it, the folder one stands in is no place for modules.
        program = [scripts / "assay"] if command == "assay" else [scripts / "python", "-P", "-m", command]
        return subprocess.run(
            [*program, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        )

    return run


def few_pairs(folder: Path) -> str:
    """A quarter of the organism's own pairs."""
    path = folder / "few.jsonl"
    path.write_text("".join((DATA / "organisms" / "pairs.jsonl").read_text().splitlines(keepends=True)[::5]))
    return str(path)


def files(folder: Path) -> set[Path]:
    """What must travel of a folder."""
    return {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_holds_one_package_with_all_that_belongs_to_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {Path(name) for name in file.namelist()}
        points = file.read(next(name for name in file.namelist() if name.endswith("entry_points.txt"))).decode()
    assert {name.parts[0] for name in names if not name.parts[0].endswith(".dist-info")} == {"harness"}
    assert {Path("harness") / path for path in files(HOME / "harness")} <= names
    assert {Path("harness", "data") / path for path in files(DATA)} <= names
    assert {Path("harness", "hypotheses") / path for path in files(HYPOTHESES)} <= names
    assert wheel.stat().st_size <= 20e6
    assert points.split() == ["[console_scripts]", "assay", "=", "harness.__main__:main"]


def test_its_command_lists_the_models_and_the_claims(call: Call) -> None:
    assert MODEL in call("assay", "models").stdout
    claims = call("assay", "claims")
    assert claims.returncode == 0, claims.stderr
    assert claims.stdout == call("harness", "claims").stdout
    assert "direction-necessity: " in claims.stdout
    assert "; hypotheses/test_direction.py:" in claims.stdout


def test_a_claim_of_ones_own_is_written_and_judged_where_one_stands(call: Call, tmp_path: Path) -> None:
    unknown = call("pytest", "--model", MODEL)
    assert "unrecognized arguments: --model" in unknown.stderr
    assert call("assay", "init").returncode == 0
    written = call("assay", "new", "my-claim")
    assert "pytest my_claims -k test_my_claim" in written.stdout, written.stderr
    bare = tmp_path / "my_claims" / "test_bare.py"
    bare.write_text("from harness import remove\ndef test_bare(model, pairs):\n    assert model\n")
    refused = call("pytest", "my_claims", "--model", MODEL)
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_bare.py, line 2: test_bare uses a model but is no claim" in refused.stderr
    bare.unlink()
    judged = call("pytest", "my_claims", "--model", MODEL, "--pairs", few_pairs(tmp_path))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "SUPPORTED    my_claim[organism:reference]" in judged.stdout
    assert "warning" not in judged.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {
        *("few.jsonl", "my_claims", "pytest.ini", "reports", ".pytest_cache")
    }
    run = latest(tmp_path / "reports" / "runs")
    claims = Run.load(run).claims
    assert {name: one["file"] for name, one in claims.items()} == {"my-claim": "my_claims/test_my_claim.py"}
    assert (run / "index.html").exists()
    again = call("assay", "report")
    assert f"{run / 'index.html'}: " in again.stdout, again.stderr


def test_our_claims_are_judged_into_the_folder_that_is_named(call: Call, scripts: Path, tmp_path: Path) -> None:
    ours = next(scripts.parent.glob("lib/*/site-packages/harness"))
    before = files(ours)
    recorded = ("--model", "recorded:llama-2-7b-chat-hf")
    judged = call("assay", "judge", "--reports", "elsewhere", *recorded, "-k", "direction")
    assert "SUPPORTED    removing_the_direction_ends_refusal[recorded:llama-2-7b-chat-hf]" in judged.stdout, (
        judged.stderr
    )
    assert "warning" not in judged.stdout
    assert files(ours) == before
    run = latest(tmp_path / "elsewhere" / "runs")
    assert {claim["file"] for claim in Run.load(run).claims.values()} <= {
        f"hypotheses/{path}" for path in files(HYPOTHESES)
    }
    assert f"{run / 'index.html'}: " in call("assay", "report", "--reports", "elsewhere").stdout
    assert "no run yet; judge claims first: assay judge" in call("assay", "report").stderr


def test_other_tests_do_not_notice_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import sys\nimport pytest\n"
        "@pytest.fixture\ndef model(): return 3\n"
        "def test_theirs(model): assert model == 3\n"
        "def test_nothing_is_loaded(): assert not [name for name in sys.modules if name.startswith('harness')]\n"
    )
    done = call("pytest", "-v")
    assert "2 passed" in done.stdout, done.stdout
    assert "assay" not in done.stdout
    assert not (tmp_path / "reports").exists()
    options = call("pytest", "--help").stdout
    assert "--strict-markers" in options
    assert "--strict-models" not in options
    assert "Assay" not in options
