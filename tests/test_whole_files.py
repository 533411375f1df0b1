"""What a kill leaves half written is swept by the next run, and never what somebody still writes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.inputs.errors import AssayError
from harness.inputs.files import whole_files
from harness.inputs.files.whole_files import sweep, write_whole


def left(folder: Path, name: str, age: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("half")
    when = time.time() - age
    os.utime(path, (when, when))
    return path


def dead() -> int:
    """The number of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_no_process_holds_is_swept_at_any_depth(tmp_path: Path) -> None:
    here = whole_files._machine()
    gone = [
        left(tmp_path / "ab", f".writing-{here}-{dead()}-x"),
        left(tmp_path / "r" / "figures", f".writing-{here}-{dead()}-y"),
    ]
    mine = left(tmp_path, f".writing-{here}-{os.getpid()}-z")
    whole = left(tmp_path / "ab", "abc.json")
    sweep(tmp_path)
    assert not any(path.exists() for path in gone)
    assert mine.exists()
    assert whole.exists()


def test_a_number_that_another_process_has_now_holds_nothing(tmp_path: Path) -> None:
    began = psutil.Process(os.getpid()).create_time()
    old = left(tmp_path, f".writing-{whole_files._machine()}-{os.getpid()}-x", time.time() - began + 60)
    sweep(tmp_path)
    assert not old.exists()


@pytest.mark.parametrize("name", [".writing-k2j4h5", ".writing-elsewhere-1-x"], ids=["of before", "another machine"])
def test_of_a_holder_that_cannot_be_asked_a_day_is_waited_for(tmp_path: Path, name: str) -> None:
    path = left(tmp_path, name, 3600)
    sweep(tmp_path)
    assert path.exists()
    left(tmp_path, name, 25 * 3600)
    sweep(tmp_path)
    assert not path.exists()


def test_while_it_is_written_its_name_says_who_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def full(handle: int) -> None:
        seen.extend(path.name for path in tmp_path.iterdir())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AssayError, match="No space left on device"):
        write_whole(tmp_path / "a.json", b"{}")
    (name,) = seen
    matched = whole_files._HOLDER.match(name)
    assert matched is not None
    assert int(matched["process"]) == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_a_killed_import_left_is_swept_and_one_in_use_stays(tmp_path: Path) -> None:
    gone = tmp_path / f".writing-{whole_files._machine()}-{dead()}-x"
    (gone / "evidence").mkdir(parents=True)
    (gone / "evidence" / "a.json").write_text("{}")
    with whole_files.folder_aside(tmp_path) as mine:
        sweep(tmp_path)
        assert [str(path) for path in tmp_path.iterdir()] == [mine]
    assert not list(tmp_path.iterdir())
