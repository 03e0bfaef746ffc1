"""The staging folder: what may be replaced, how it is replaced, and what a failure or a second run finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from evalkit.core.errors import NotebookError, OutputError
from evalkit.pipeline import run
from evalkit.pipeline.progress import show_progress
from evalkit.pipeline.provenance import notebook_digest, package_digest
from evalkit.pipeline.run import Job, run_jobs
from evalkit.pipeline.staging import (
    check_output,
    is_reusable,
    open_staging,
    output_names,
    publish,
    record_finished,
)

STEMS = ("peer",)
INPUTS = {"protocol": "p", "data": "d"}


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in output_names(STEMS) - {"workings"}:
        (folder / name).write_text(text)
    (folder / "workings").mkdir(exist_ok=True)


def siblings(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


def test_publishing_replaces_the_old_output_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "old")
    (out / "workings" / "only_in_old").write_text("")
    with open_staging(out, INPUTS, start="anew") as (staging, _):
        fill(staging.folder, "new")
        assert (out / "peer.html").read_text() == "old"
        publish(staging, STEMS)
    assert (out / "peer.html").read_text() == "new"
    assert not (out / "workings" / "only_in_old").exists()
    assert siblings(out) == {"out"}


def test_a_swap_that_fails_puts_the_old_output_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    fill(out, "old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == ".out.partial":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    with (
        pytest.raises(OutputError, match="Permission denied"),
        open_staging(out, INPUTS, start="anew") as (staging, _),
    ):
        fill(staging.folder, "new")
        monkeypatch.setattr(Path, "rename", refuse)
        publish(staging, STEMS)
    assert (out / "peer.html").read_text() == "old"
    assert siblings(out) == {"out"}


def test_a_run_killed_between_the_two_renames_is_recovered(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(tmp_path / ".out.old", "old")
    with open_staging(out, INPUTS, start="anew"):
        assert (out / "peer.html").read_text() == "old"
    assert ".out.old" not in siblings(out)


@pytest.mark.parametrize("left", ["peer.pdf", "figures"])
def test_an_output_with_too_little_or_too_much_is_not_published(tmp_path: Path, left: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError, match=left), open_staging(out, INPUTS, start="anew") as (staging, _):
        fill(staging.folder, "new")
        if left == "figures":
            (staging.folder / left).mkdir()
        else:
            (staging.folder / left).unlink()
        publish(staging, STEMS)
    assert siblings(out) == set()


def test_a_second_run_on_the_same_output_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_staging(out, INPUTS, start="anew") as (staging, _):
        with pytest.raises(OutputError, match="another run"), open_staging(out, INPUTS, start="anew"):
            pass
        assert (staging.workings / "README.txt").is_file()


def test_what_was_finished_is_reused_only_while_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_staging(out, INPUTS, start="anew") as (staging, _):
        staging.executed("a").write_text("executed")
        staging.results("a").write_text("numbers")
        record_finished(staging, "a", "source 1")
    with open_staging(out, INPUTS, start="resume") as (staging, said):
        assert said.startswith("Resuming")
        assert is_reusable(staging, "a", "source 1")
        assert not is_reusable(staging, "a", "source 2")
        assert not is_reusable(staging, "b", "source 1")
        staging.results("a").write_text("half of the num")
        assert not is_reusable(staging, "a", "source 1")
    with open_staging(out, INPUTS | {"data": "other"}, start="resume") as (staging, said):
        assert said == "The data has changed since the unfinished run: starting anew."
        assert not staging.executed("a").exists()
    with open_staging(out, INPUTS, start="anew") as (staging, said):
        assert (said, staging.finished) == ("", {})


def test_outputs_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("")
    fill(tmp_path / "earlier", "old")
    fill(tmp_path / "mixed", "old")
    (tmp_path / "mixed" / "thesis.docx").write_text("")
    (tmp_path / "empty").mkdir()
    faults = {
        name: " ".join(fault.text for fault in check_output(tmp_path / name, STEMS))
        for name in ("file", "file/out", "mine", "mixed", "earlier", "empty", "new/and/deeper")
    }
    assert "this is a file" in faults["file"]
    assert "nothing can be written" in faults["file/out"]
    assert "not an earlier output" in faults["mine"]
    assert "would be lost" in faults["mixed"]
    assert "thesis.docx" in faults["mixed"]
    assert faults["earlier"] == faults["empty"] == faults["new/and/deeper"] == ""
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_folder_that_refuses_even_the_superuser_is_known_beforehand() -> None:
    (fault,) = check_output(Path("/proc/evalkit/out"), STEMS)
    assert "nothing can be written in /proc" in fault.text


def test_a_notebook_digest_follows_what_is_written_and_not_what_came_out(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    cell = nbformat.v4.new_code_cell("1 + 1")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    before = notebook_digest(path)
    cell.outputs = [nbformat.v4.new_output("stream", text="2")]
    cell.execution_count = 7
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert notebook_digest(path) == before
    cell.source = "1 + 2"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert notebook_digest(path) != before
    assert package_digest() == package_digest()


@pytest.fixture
def quick_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, subprocess.Popen]:
    """Stands for notebooks: processes that wait a moment; one named `dies` ends without a word."""
    started: dict[str, subprocess.Popen] = {}

    def start(job: Job, scratch: Path) -> run._Running:
        outcome = scratch / f"{job.name}.json"
        code = "import sys, time; print('memory', file=sys.stderr); time.sleep(0.1); sys.exit(7)"
        if job.name != "dies":
            seconds = 60 if job.name == "long" else 0.2
            code = f"import time; time.sleep({seconds}); open({str(outcome)!r}, 'w').write('{{\"end\": \"ok\"}}')"
        stderr = (scratch / f"{job.name}.txt").open("w+b")
        started[job.name] = subprocess.Popen([sys.executable, "-c", code], stderr=stderr)
        return run._Running(job, started[job.name], outcome, stderr)

    monkeypatch.setattr(run, "_start", start)
    return started


def jobs_named(*names: str, after: tuple[str, ...] = ()) -> list[Job]:
    return [Job(Path(f"{name}.ipynb"), Path(f"{name}.ipynb"), {}, after) for name in names]


class Watch:
    """Counts how many run at once."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.order: list[str] = []

    def started(self, name: str) -> None:
        self.running.append(name)
        self.order.append(name)
        self.most = max(self.most, len(self.running))

    def finished(self, name: str) -> None:
        self.running.remove(name)


def test_independent_notebooks_run_side_by_side_but_no_more_than_asked(quick_jobs: dict) -> None:
    watch = Watch()
    jobs = [*jobs_named("last", after=("a", "b", "c")), *jobs_named("a", "b", "c")]
    run_jobs(jobs, n_jobs=2, progress=watch, on_finished=lambda _: None)
    assert watch.most == 2
    assert watch.order[-1] == "last"


def test_a_process_that_dies_stops_the_run_and_ends_the_others(quick_jobs: dict) -> None:
    with pytest.raises(NotebookError, match=r"(?s)dies.*ended with code 7.*memory"):
        run_jobs(jobs_named("dies", "long"), n_jobs=2, progress=Watch(), on_finished=lambda _: None)
    assert quick_jobs["long"].poll() is not None


def test_progress_names_what_runs_on_a_terminal_and_in_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    for terminal in (True, False):
        path = tmp_path / f"{terminal}.txt"
        with path.open("w") as file:
            console = Console(file=file, force_terminal=terminal, width=80)
            with show_progress(2, console) as progress:
                progress.started("01_first")
                progress.started("02_second")
                progress.finished("01_first")
                progress.reused("03_third")
                progress.note("a word")
                progress.finished("02_second")
        said = path.read_text()
        for part in ("01_first", "02_second", "03_third: finished earlier", "a word"):
            assert part in said


@pytest.mark.parametrize("name", [".git", ".env", "thesis.docx"])
def test_what_a_user_keeps_in_the_output_folder_is_never_lost(tmp_path: Path, name: str) -> None:
    """Hidden files too: a folder that holds them is refused, with or without an earlier output in it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    assert check_output(out, STEMS)
    fill(out, "old")
    assert any(name in fault.text for fault in check_output(out, STEMS))
