"""Several workers: one load a model, a killed one costs one line, and the verdicts stay what they are."""

import html
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.model_catalog import GIB, Machine
from harness.inputs.places import DATA
from harness.report.page import page_of
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.running.xdist_workers import require_room

ROOT = DATA.parent
MODELS = ("recorded:meta-llama-3-8b-instruct", "recorded:llama-2-7b-chat-hf")
CLAIM = """
import os, signal
from harness.claims.claim import claim

@claim("{name}", source="a test", holds_on="reference", fails_on="compliant")
def test_{name}(model, pairs):
    '''It is refused.'''
    with open({log!r}, "a") as file:
        print("{name}", model.name, os.getpid(), os.environ["OMP_NUM_THREADS"], file=file)
    {first}
    assert model.refuses(pairs.heldout).rate("{side}") > 0.30
"""
# What xdist's users may have installed beside it.
RERUNS = "def pytest_addoption(parser): parser.addoption('--reruns', type=int)\n"


def judge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    models = [part for name in MODELS for part in ("--model", name)]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", str(ROOT / "pytest.ini"), "--rootdir", str(ROOT), "-p", "conftest"),
            *(
                "-o",
                f"cache_dir={folder / 'cache'}",
                str(folder),
                "--evidence",
                str(folder / "evidence"),
                *models,
                *arguments,
            ),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": str(folder)},
    )


def write(folder: Path, name: str, *, side: str = "harmful", first: str = "") -> None:
    log = str(folder / "log")
    (folder / f"test_{name}.py").write_text(CLAIM.format(name=name, side=side, first=first, log=log))


KILLER = f"if model.name == {MODELS[0]!r}: os.kill(os.getpid(), signal.SIGKILL)"


def test_a_killed_worker_costs_one_broken_line_and_nothing_else(tmp_path: Path) -> None:
    for name, first in (("a", ""), ("b", KILLER), ("c", ""), ("d", "")):
        write(tmp_path, name, first=first, side="harmless" if name == "d" else "harmful")
    done = judge(tmp_path, "-n", "2", f"--junit-xml={tmp_path / 'junit.xml'}", f"--html={tmp_path / 'report.html'}")
    assert done.returncode == 12, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
    run = Run.load(latest(tmp_path / "runs"))
    words = {(verdict["claim"], verdict["model"]): verdict["word"] for verdict in run.verdicts}
    assert words == {
        (name, model): "BROKEN" if (name, model) == ("b", MODELS[0]) else "REFUTED" if name == "d" else "SUPPORTED"
        for name in "abcd"
        for model in MODELS
    }
    assert done.stdout.count("\nBROKEN ") == 1
    assert "its process was killed" in done.stdout
    ran = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    # Every claim once, the one that kills too.
    assert sorted((name, model) for name, model, *_ in ran) == sorted(words)
    # One process a model, a second one for what stood behind the kill.
    processes = {model: {pid for _, name, pid, _ in ran if name == model} for model in MODELS}
    assert len(processes[MODELS[1]]) == 1
    assert len(processes[MODELS[0]]) == 2
    cores = len(os.sched_getaffinity(0))
    assert {threads for *_, threads in ran} == {str(max(1, cores // 2))}
    assert (tmp_path / "junit.xml").read_text().count("BROKEN: its process was killed") >= 1
    rows = html.unescape(html.unescape((tmp_path / "report.html").read_text()))
    for text in ("Verdict", "Effect [interval]", "refused, harmful +0.97 [+0.89, +1.00]"):
        assert text in rows
    page = page_of(latest(tmp_path / "runs"))
    link = re.escape(str(page.relative_to(tmp_path)))
    links = re.findall(rf'<td><a href="{link}#([^"]+)">(\w+)</a></td>', rows.replace("\\", ""))
    assert Counter(word for _, word in links) == {"SUPPORTED": 5, "REFUTED": 2, "BROKEN": 1}
    assert all(f'id="{place}"' in page.read_text() for place, _ in links)
    # What was refuted or broken is what failed last.
    again = judge(tmp_path, "--lf", "--collect-only", "-q")
    chosen = {line.split("::")[1] for line in again.stdout.splitlines() if "::" in line}
    assert chosen == {f"test_b[{MODELS[0]}]", f"test_d[{MODELS[0]}]", f"test_d[{MODELS[1]}]"}


def test_a_claim_is_not_judged_until_it_holds(tmp_path: Path) -> None:
    write(tmp_path, "a")
    (tmp_path / "offers_reruns.py").write_text(RERUNS)
    done = judge(tmp_path, "-p", "offers_reruns", "--reruns", "3")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--reruns is refused" in done.stderr
    path = tmp_path / "test_a.py"
    path.write_text(path.read_text().replace("@claim", "import pytest\n@pytest.mark.flaky(reruns=2)\n@claim"))
    done = judge(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "claim 'a' is marked flaky; a claim is judged once" in done.stderr
    assert not (tmp_path / "log").exists()


def test_models_that_do_not_fit_together_are_refused() -> None:
    names = ("llama-3-8b-instruct", "llama-2-7b-chat", MODELS[0])
    require_room(names, "nf4", 1, Machine(ram=8 * GIB, gpu=0))
    require_room(names, "nf4", 2, Machine(ram=64 * GIB, gpu=0))
    with pytest.raises(AssayError, match=r"-n 2 would hold llama.* and llama.* at once: .* GiB"):
        require_room(names, "nf4", 2, Machine(ram=8 * GIB, gpu=0))
    require_room(names, "none", 2, Machine(ram=40 * GIB, gpu=0))
    with pytest.raises(AssayError, match="-n 2 would hold"):
        require_room(names, "none", 2, Machine(ram=40 * GIB, gpu=0), "float32")
    # One that never fits is skipped, with its own reason.
    require_room(("llama-3-70b-instruct", "llama-3-8b-instruct"), "nf4", 2, Machine(ram=8 * GIB, gpu=0))
