"""The command line: exit codes, plain words on stderr, nothing heavy loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import evalkit
from evalkit import cli, pipeline
from evalkit.core.errors import Fault, NotebookError

REPOSITORY = Path(__file__).parents[2]
PROTOCOL = REPOSITORY / "protocols" / "ipsa.toml"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Give a command; get its exit code, what it printed and what it said on stderr."""

    def give(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evalkit", *map(str, arguments)])
        monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return give


def test_the_version_is_that_of_the_package(call) -> None:
    assert call("--version") == (0, f"evalkit {evalkit.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["evalute"], "evaluate"),
        (["evaluate", "--protcol", "x"], "--protocol"),
        (["check", "--protocl", "y"], "--proto"),
    ],
)
def test_what_is_misspelt_exits_with_2_and_names_the_nearest(call, arguments: list[str], nearest: str) -> None:
    code, _, said = call(*arguments)
    assert code == 2
    assert nearest in said


def test_less_than_one_job_exits_with_2(call) -> None:
    code, _, said = call("evaluate", "--protocol", "p", "--data", "d", "--out", "o", "--jobs", "0")
    assert code == 2
    assert "--jobs" in said


def test_all_that_is_wrong_is_said_without_a_traceback_and_nothing_is_written(call, tmp_path: Path) -> None:
    protocol = tmp_path / "p.toml"
    protocol.write_text(PROTOCOL.read_text().replace("seed =", "sede ="))
    code, out, said = call(
        "evaluate", "--protocol", protocol, "--data", tmp_path / "none", "--out", tmp_path / "p.toml" / "out",
        "--notebooks", tmp_path / "nowhere",
    )  # fmt: skip
    assert (code, out) == (2, "")
    for part in ("sede", "Did you mean", "there is no such folder", "nowhere", "nothing can be written"):
        assert part in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["p.toml"]


def test_a_failed_notebook_exits_with_1(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **options: object) -> None:
        assert options == {"notebooks": None, "jobs": 2, "start": "resume", "reviews": None, "earlier": None}
        raise NotebookError(Fault("05_costs", "stopped"))

    monkeypatch.setattr(pipeline, "evaluate", fail)
    code, out, said = call("evaluate", "--protocol", "p", "--data", "d", "--out", "o", "--resume")
    assert (code, out) == (1, "")
    assert "05_costs: stopped." in said


def test_what_a_programmer_caused_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "evaluate", fail)
    monkeypatch.setattr(sys, "argv", ["evalkit", "evaluate", "--protocol", "p", "--data", "d", "--out", "o"])
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_check_exits_with_2_for_tables_that_cannot_be_used(call, tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("aera,population,adoption_date\nLambeth,1,\n")
    code, out, _ = call("check", tmp_path)
    assert code == 2
    assert "area" in out


def test_check_exits_with_0_or_1_for_tables_that_can(call, tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("area,population,adoption_date\nLambeth,300000,2015-04-01\n")
    rows = [f"Lambeth,{year}-01-01,deaths,{year - 1990},300000" for year in range(2012, 2018)]
    (tmp_path / "area_counts.csv").write_text("\n".join(["area,period_start,outcome,count,person_time", *rows]) + "\n")
    code, out, _ = call("check", tmp_path)
    assert code in (0, 1)
    assert "area_counts" in out


def test_the_dictionary_names_every_table(call) -> None:
    code, out, _ = call("dictionary")
    assert code == 0
    for table in ("people", "ward_stays", "placements", "area_counts"):
        assert table in out


def test_simulate_refuses_settings_that_are_not_there(call, tmp_path: Path) -> None:
    code, _, said = call("simulate", "--settings", tmp_path / "none.toml", "--out", tmp_path / "world")
    assert code == 2
    assert "none.toml" in said
    assert not (tmp_path / "world").exists()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, evalkit.cli; print(sorted({'pandas', 'numpy', 'ibis', 'papermill', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
