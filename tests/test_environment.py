"""The commit in a run is this project's own, or none."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.inputs.machine import commit

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="no git here")


def git(folder: Path, *arguments: str) -> str:
    named = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run([GIT or "git", "-C", folder, *named, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one committed file."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a").write_text("1")
    git(root, "add", "a")
    git(root, "commit", "-q", "-m", "one")
    return root


def test_it_is_named_and_what_is_not_committed_is_said(project: Path) -> None:
    head = git(project, "rev-parse", "HEAD")
    assert commit(project) == head
    (project / "b").write_text("not tracked")
    assert commit(project) == head
    (project / "a").write_text("2")
    assert commit(project) == f"{head}-dirty"


def test_within_another_repository_it_has_none(project: Path, tmp_path: Path) -> None:
    unpacked = project / "unpacked"
    unpacked.mkdir()
    assert commit(unpacked) is None
    assert commit(tmp_path) is None


def test_a_hook_of_another_repository_does_not_lend_its_commit(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    monkeypatch.setenv("GIT_DIR", str(project / ".git"))
    assert commit(alone) is None


def test_an_owner_that_git_refuses_is_not_no_repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(project, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    with pytest.raises(subprocess.CalledProcessError):
        git(project, "rev-parse", "HEAD")
    assert commit(project) == head
