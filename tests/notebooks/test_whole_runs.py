"""The main job as a user runs it: the default evaluation, and two real studies through the same command."""

from __future__ import annotations

import html
import importlib.util
import json
import re
from pathlib import Path

import pytest

from evalkit.core.result import Results
from evalkit.disclose import load_release
from evalkit.disclose.scan import find_unreleased, scan_files
from evalkit.pipeline import evaluate
from evalkit.pipeline.bundle import make_bundle
from evalkit.report.model_card import render_model_card
from evalkit.report.variants import VARIANTS
from evalkit.review.load import load_review

ROOT = Path(__file__).parents[2]
DATASETS = ROOT.parent / "shared" / "reference" / "datasets"
FILES = {f"{stem}.{kind}" for stem in ("peer", "academic") for kind in ("html", "docx", "pdf")}
BESIDE = {*VARIANTS, "peer_explore.html", "peer_comments.csv", "academic_comments.csv", "blocks.json", "rendered.json"}
BIBLIOGRAPHY = ROOT / "src/evalkit/report/references.bib"
REVIEWS = ROOT / "reviews" / "ipsa"

pytestmark = pytest.mark.slow


def words(path: Path) -> str:
    page = re.sub(r'"data:[^"]*"', "", path.read_text(encoding="utf-8"))
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture(scope="module")
def default_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "ipsa"
    return evaluate(ROOT / "protocols/ipsa.toml", ROOT / "data/synthetic/ipsa", out, reviews=REVIEWS)


def test_the_committed_numbers_are_what_the_code_gives_today_to_the_byte(default_run):
    committed = (ROOT / "reports/ipsa/results.parquet").read_bytes()
    assert (default_run / "results.parquet").read_bytes() == committed


def test_the_output_holds_both_reports_and_nothing_else(default_run):
    there = {path.name for path in default_run.iterdir()}
    assert there == FILES | BESIDE | {"results.parquet", "manifest.json", "model_card.md", "workings"}
    card = (default_run / "model_card.md").read_text(encoding="utf-8")
    assert card == render_model_card(load_release(default_run))
    assert all((default_run / name).stat().st_size > 20_000 for name in FILES)


def test_the_workings_say_that_they_must_not_leave(default_run):
    assert "must not leave" in (default_run / "workings" / "README.txt").read_text()


def test_every_rendered_file_is_the_committed_one_to_the_byte(default_run):
    names = sorted((FILES | BESIDE) - {"rendered.json"})
    # Fonts and libraries that draw may differ from machine to machine; words and numbers may not.
    alike = [name for name in names if name.endswith((".txt", ".csv", ".json"))]
    for name in alike:
        assert (default_run / name).read_bytes() == (ROOT / "reports/ipsa" / name).read_bytes(), name


def test_no_byte_of_any_file_tells_what_was_not_released(default_run):
    parts = [Results.load(path) for path in sorted((default_run / "workings" / "results").glob("*.parquet"))]
    unreleased = find_unreleased(Results.concat(parts), load_release(default_run))
    assert scan_files(default_run, unreleased=unreleased) == ()


def test_the_default_report_can_be_bundled_for_an_output_checker(default_run, tmp_path):
    bundle = make_bundle(default_run, tmp_path / "bundle", review=load_review(REVIEWS))
    assert set(bundle.files) == FILES | BESIDE - {"rendered.json"} | {
        "results.parquet",
        "manifest.json",
        "model_card.md",
    }
    assert not list((tmp_path / "bundle").rglob("*.ipynb"))


def test_the_origin_of_every_released_table_is_a_cell(default_run):
    release = load_release(default_run)
    origins = release.manifest["origins"]
    assert set(release.results.frame["table"]) <= set(origins)
    assert all(cells["made"] for by in origins.values() for cells in by.values())


def test_no_exact_count_of_a_thousand_or_more_reaches_a_report(default_run):
    """Every count passes the gate rounded to 5, so no other may stand in a report, however it is written."""
    parts = [Results.load(path) for path in sorted((default_run / "workings" / "results").glob("*.parquet"))]
    exact = Results.concat(parts).frame
    counts = exact[(exact["kind"] == "count") & (exact["value"] >= 1000) & (exact["value"] % 5 != 0)]["value"]
    assert len(counts) > 5
    years = {float(year) for year in re.findall(r"year = \{(\d{4})\}", BIBLIOGRAPHY.read_text(encoding="utf-8"))}
    assert years
    forms = {form for value in set(counts) - years for form in (f"{value:.0f}", f"{value:,.0f}")}
    for stem in ("peer", "academic"):
        # A DOI is no count: Wiley's all begin with 10.1002.
        text = re.sub(r"10\.\d{4,}/\S+", " ", words(default_run / f"{stem}.html"))
        found = set(re.findall(r"\d[\d,]*\d", text))
        assert not found & forms


def test_the_simulated_are_called_simulated_and_the_naive_not_evidence(default_run):
    for stem in ("peer", "academic"):
        text = words(default_run / f"{stem}.html").lower()
        assert "simulated" in text
        assert "not evidence" in text


def test_the_manifest_tells_what_the_numbers_were_made_from(default_run):
    manifest = json.loads((default_run / "manifest.json").read_text())
    release = load_release(default_run)
    assert manifest["protocol_digest"] == release.protocol.digest
    assert manifest["suppressed"]
    assert set(release.results.frame["protocol"]) == {release.protocol.digest}
    assert release.results.frame["data"].nunique() == 1


def run_example(name: str, dataset: str, folder: Path) -> Path:
    source = DATASETS / dataset / "data.csv"
    if not source.is_file():
        pytest.skip(f"the reference data set {dataset} is not beside the repository")
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / name / "convert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.convert(source, folder / "tables")
    return evaluate(ROOT / "examples" / name / "protocol.toml", folder / "tables", folder / "out")


def test_people_without_a_comparison_give_both_reports_that_say_so(tmp_path):
    out = run_example("surgery_readmission", "rec_readmission", tmp_path)
    assert {path.name for path in out.iterdir()} >= FILES
    effects = load_release(out).table("effects")
    assert (effects["status"] == "not_estimable").all()
    assert "could not work this out" in words(out / "peer.html")
    assert "Mental Health Act" not in words(out / "peer.html")  # nobody is held for bowel cancer
    assert "1.11" in words(out / "peer.html")  # readmissions per 1,000 days at risk; R: 1.108


def test_areas_alone_give_both_reports(tmp_path):
    out = run_example("castle_doctrine", "did_castle", tmp_path)
    assert {path.name for path in out.iterdir()} >= FILES
    primary = load_release(out).table("effects").query("role == 'primary'").iloc[0]
    assert primary["status"] == "shown"
    assert f"{primary['value']:.2f}" in words(out / "academic.html")
