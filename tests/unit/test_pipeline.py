"""Whole runs of the pipeline on notebooks of one or two cells: what they leave, and what a failure leaves."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from rich.console import Console

from evalkit.core.errors import EvalkitError, Fault, NotebookError, OutputError, ParameterError
from evalkit.core.result import Results
from evalkit.pipeline import Plan, Report, Step, evaluate, evaluation, reporting
from evalkit.pipeline.plan import check_notebooks
from evalkit.pipeline.worker import execute
from evalkit.report.render import Rendered

REPOSITORY = Path(__file__).parents[2]
PROTOCOL = REPOSITORY / "protocols" / "ipsa.toml"
PLAN = Plan(
    analysis=(Step("01_first"), Step("02_second", after=("01_first",)), Step("03_third", after=("01_first",))),
    reports=(Report("peer_report", stem="peer", title="Peer"),),
)
PARAMETERS = 'protocol: str = "p"  # a\ndata: str = "d"  # b\nworkings: str = "w"  # c'
SAVE = """
from pathlib import Path
from evalkit.core.result import Cell, Results
path = Path(workings) / "results" / "{name}.parquet"
Results.from_cells("description.{name}", [Cell("all", "people", {value}, "count", n_people={value})]).save(path)
"""


@dataclass(frozen=True)
class Folders:
    notebooks: Path
    data: Path
    out: Path
    log: Path

    @property
    def partial(self) -> Path:
        return self.out.with_name(".out.partial")

    def run(self, **options: object) -> str:
        """Evaluate, and return what was said on the way."""
        with self.log.open("w") as file:
            console = Console(file=file, width=200)
            options = {"protocol": PROTOCOL, "notebooks": self.notebooks, "plan": PLAN, "console": console} | options
            evaluate(options.pop("protocol"), self.data, options.pop("out", self.out), **options)
        return self.log.read_text()


def write_notebook(folder: Path, name: str, *sources: str, parameters: str = PARAMETERS) -> None:
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [first, *(nbformat.v4.new_code_cell(source) for source in sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


def write_saving(folder: Path, name: str, value: str = "120", *sources: str) -> None:
    write_notebook(folder, name, *sources, SAVE.format(name=name, value=value))


class FewTables:
    """Stands for tables that passed their checks."""

    names = ("people",)
    digest = "d" * 64
    notes = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ibis(self, name: str) -> FewTables:
        return self

    def count(self) -> FewTables:
        return self

    def execute(self) -> int:
        return 120


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A folder of notebooks that run, tables that are always fine, and a renderer that writes one line."""
    found = Folders(tmp_path / "notebooks", tmp_path / "data", tmp_path / "out", tmp_path / "log.txt")
    found.notebooks.mkdir()
    found.data.mkdir()
    for name in ("01_first", "02_second", "03_third"):
        write_saving(found.notebooks, name)
    write_notebook(
        found.notebooks, "peer_report", "from evalkit.disclose import load_release\nload_release(release).results",
        parameters='release: str = "r"  # a\nreviews: str = ""  # b',
    )  # fmt: skip

    def render(executed: Path, stem: Path, **_: object) -> Rendered:
        written = tuple(stem.with_suffix(f".{ending}") for ending in ("html", "pdf", "docx"))
        for path in written:
            path.write_text(executed.name)
        return Rendered(written, ())

    monkeypatch.setattr(evaluation, "require_usable", lambda folder, _: FewTables(folder))
    monkeypatch.setattr(reporting, "render_report", render)
    monkeypatch.setattr(reporting, "render_variants", lambda *_, **__: ())
    monkeypatch.setattr(reporting, "render_explore", lambda _, path, **__: path.write_text("explore"))
    # Whoever edits the package while the tests run does not change what they find.
    monkeypatch.setattr(evaluation, "package_digest", lambda: "c" * 64)
    monkeypatch.setattr(evaluation, "environment_versions", lambda: {"python": "3"})
    return found


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def earlier_output(out: Path) -> dict[str, bytes]:
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    (out / "peer.html").write_text("the report of last year")
    return listing(out)


@pytest.mark.slow
def test_a_run_leaves_the_reports_the_release_and_the_workings(folders: Folders) -> None:
    earlier_output(folders.out)
    probe = "import os\nseen = int(os.environ['OMP_NUM_THREADS']) * 70 + int(os.environ['PYTHONHASHSEED'])"
    write_saving(folders.notebooks, "02_second", "seen", probe)
    said = folders.run()
    assert {p.name for p in folders.out.iterdir()} == {
        "peer.html", "peer.pdf", "peer.docx", "results.parquet", "manifest.json", "model_card.md", "workings",
        "blocks.json", "rendered.json", "peer_comments.csv", "peer_explore.html",
    }  # fmt: skip
    assert "must not leave the secure environment" in (folders.out / "workings" / "README.txt").read_text()
    unreleased = Results.load(folders.out / "workings" / "results" / "02_second.parquet").frame
    assert unreleased["value"].tolist() == [70.0]
    released = pd.read_parquet(folders.out / "results.parquet")
    assert set(released["notebook"]) == {"01_first", "02_second", "03_third"}
    assert set(released["data"]) == {"d" * 64}
    manifest = json.loads((folders.out / "manifest.json").read_text())
    assert len(manifest["code_digest"]) == 64
    assert manifest["data_digest"] == "d" * 64
    executed = nbformat.read(folders.out / "workings" / "peer_report.ipynb", as_version=4)
    assert any(str(folders.partial) in cell.source for cell in executed.cells)
    assert not folders.partial.exists()
    assert said.index("01_first: finished") < said.index("02_second: running")
    assert said.index("03_third: running") < said.index("02_second: finished")


@pytest.mark.slow
def test_a_failing_notebook_stops_the_run_and_resume_goes_on_from_there(folders: Folders) -> None:
    before = earlier_output(folders.out)
    long = "\n".join(f"line_{i} = {i}" for i in range(40))
    write_notebook(folders.notebooks, "02_second", f"{long}\nraise ValueError('first\\nthe last line')")
    write_saving(folders.notebooks, "03_third", "120", "import time\ntime.sleep(60)")
    with pytest.raises(NotebookError) as caught:
        folders.run()
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert len(message.splitlines()) <= 30
    for part in ("02_second", "In [3]", "line_13 = 13", "and 27 lines more", "ValueError", "the last line", "--resume"):
        assert part in message
    marked = (folders.partial / "workings" / "02_second.ipynb").read_text()
    assert "papermill-error-cell" in marked
    assert listing(folders.out) == before
    assert not (folders.partial / "workings" / "results" / "03_third.parquet").exists()

    first = (folders.partial / "workings" / "01_first.ipynb").stat().st_mtime_ns
    write_saving(folders.notebooks, "02_second")
    write_saving(folders.notebooks, "03_third")
    said = folders.run(start="resume")
    assert "Resuming" in said
    assert "01_first: finished earlier" in said
    assert "02_second: running" in said
    assert (folders.out / "workings" / "01_first.ipynb").stat().st_mtime_ns == first
    assert "peer_report" in (folders.out / "peer.html").read_text()


@pytest.mark.slow
def test_resume_starts_anew_when_the_inputs_changed_and_says_which(folders: Folders, tmp_path: Path) -> None:
    write_notebook(folders.notebooks, "02_second", "1 / 0")
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        folders.run()
    other = tmp_path / "other.toml"
    other.write_text(PROTOCOL.read_text().replace("seed = 20150401", "seed = 1"))
    with pytest.raises(NotebookError):
        folders.run(protocol=other, start="resume")
    said = folders.log.read_text()
    assert "The protocol has changed since the unfinished run: starting anew." in said
    assert "finished earlier" not in said


@pytest.mark.slow
@pytest.mark.parametrize("place", ["notebook", "gate", "renderer"])
def test_a_full_disk_leaves_the_old_output_and_nothing_else(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = earlier_output(folders.out)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")

    if place == "notebook":
        write_notebook(folders.notebooks, "01_first", "import errno, os\nraise OSError(28, os.strerror(28), 'x')")
    elif place == "gate":
        monkeypatch.setattr(Results, "save", full)
    else:
        monkeypatch.setattr(reporting, "render_report", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        folders.run()
    assert caught.value.exit_code == 2
    assert listing(folders.out) == before
    assert {p.name for p in folders.out.parent.iterdir()} == {"notebooks", "data", "out", "log.txt"}


@pytest.mark.slow
def test_a_notebook_that_saves_no_numbers_has_failed(folders: Folders) -> None:
    write_notebook(folders.notebooks, "01_first", "print('nothing')")
    with pytest.raises(NotebookError, match="without writing its numbers"):
        folders.run()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_worker_that_cannot_write_the_executed_notebook_says_so(folders: Folders) -> None:
    executed = folders.data / "full.ipynb"
    executed.symlink_to("/dev/full")
    job = {
        "notebook": str(folders.notebooks / "01_first.ipynb"), "executed": str(executed),
        "folder": str(folders.notebooks), "parameters": {"workings": str(folders.out)},
    }  # fmt: skip
    assert execute(job) == {"end": "os", "errno": errno.ENOSPC, "message": os.strerror(errno.ENOSPC)}


def test_everything_that_is_wrong_is_said_at_once_before_anything_is_run(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = tmp_path / "faulty.toml"
    faulty.write_text(PROTOCOL.read_text().replace("title =", "titel =", 1))
    write_notebook(folders.notebooks, "02_second", parameters=PARAMETERS.replace("workings", "workngs"))
    (folders.notebooks / "03_third.ipynb").unlink()
    (folders.notebooks / "peer_report.ipynb").write_text("not a notebook")
    (tmp_path / "file").write_text("")

    def broken(_: Path, protocol: object) -> None:
        assert protocol is None  # the tables are looked at though the protocol cannot be used
        raise EvalkitError(Fault("people", "there is no such table"))

    monkeypatch.setattr(evaluation, "require_usable", broken)
    before = listing(tmp_path)
    with pytest.raises(EvalkitError) as caught:
        folders.run(protocol=faulty, out=tmp_path / "file" / "out")
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for part in (
        "titel", "there is no such table", '"workings" is missing', 'no parameter "workngs"', 'Did you mean "workings"',
        "03_third.ipynb: this notebook is missing", "this is not a notebook", "nothing can be written",
    ):  # fmt: skip
        assert part in message
    assert listing(tmp_path) == before | {"log.txt": b""}


def test_less_than_one_notebook_at_a_time_is_refused(folders: Folders) -> None:
    with pytest.raises(ParameterError, match="at least one"):
        folders.run(jobs=0)


def test_a_notebook_with_two_parameters_cells_is_refused(folders: Folders) -> None:
    path = folders.notebooks / "01_first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    (fault,) = check_notebooks(folders.notebooks, PLAN)
    assert "exactly one cell" in fault.text


def test_a_notebook_that_names_no_kernel_is_refused(folders: Folders) -> None:
    path = folders.notebooks / "01_first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {}
    nbformat.write(notebook, path)
    (fault,) = check_notebooks(folders.notebooks, PLAN)
    assert "names no kernel" in fault.text


def test_a_plan_cannot_wait_for_what_comes_later() -> None:
    with pytest.raises(ValueError, match="b waits for a"):
        Plan(analysis=(Step("b", after=("a",)), Step("a")), reports=())


def test_a_kernel_that_never_answers_is_started_again_and_another_error_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from evalkit.pipeline import worker

    job = {"notebook": "n", "executed": "e", "parameters": {}, "folder": "."}
    told: list[str] = ["Kernel didn't respond in 45 seconds", "Kernel didn't respond in 45 seconds"]

    def start(*_: object, **__: object) -> None:
        if told:
            raise RuntimeError(told.pop())

    monkeypatch.setattr(worker.papermill, "execute_notebook", start)
    assert worker.execute(job) == {"end": "ok"}
    told[:] = ["Kernel didn't respond in 45 seconds"] * worker.TRIES
    with pytest.raises(RuntimeError, match="didn't respond"):
        worker.execute(job)
    told[:] = ["another thing"]
    with pytest.raises(RuntimeError, match="another thing"):
        worker.execute(job)
