"""The bundle for the output checker: what it holds, and every reason why there is none, all at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from evalkit.cli_release import release as release_command
from evalkit.core.errors import EvalkitError
from evalkit.core.protocol import load_protocol
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, policy, release
from evalkit.pipeline.bundle import make_bundle, record_release
from evalkit.pipeline.seal import write_seal
from evalkit.review.load import load_review
from evalkit.review.record import Comment, Held, Review, Version

PROTOCOL = load_protocol(Path(__file__).parents[2] / "protocols" / "ipsa.toml")
SECRET = 90_437
OPEN = Comment("c0001", "peer", "text-a-1", "unclear", "What is this?")
REVIEW = Review((replace(OPEN, status="accepted", reply="Yes.", decided_by="Jo"),))


def made(count: int = SECRET, *, earlier: Release | None = None, data: str = "0" * 64) -> tuple[Results, Release]:
    cells = [Cell("all", "n", count, "count"), Cell("few", "n", 4, "count", totals=("all/n",)),
             Cell("most", "n", count - 4, "count", totals=("all/n",))]  # fmt: skip
    exact = Results.from_cells("description.people", cells)
    provenance = {"evalkit_version": "0.1.0", "data_digest": data, "tables": {}, "code_digest": "2" * 64,
                  "environment": {}}  # fmt: skip
    return exact, release(exact, policy=policy("strict"), protocol=PROTOCOL, provenance=provenance, earlier=earlier)


def write_output(
    folder: Path, *, review: Review = REVIEW, text: str = "About 90,435 people.", **given: object
) -> Release:
    exact, released = made(**given)
    released.save(folder)
    (folder / "peer.html").write_text(f"<html lang=en-GB><p>{text}</p></html>")
    (folder / "blocks.json").write_text(json.dumps({"peer": {"text-a-1": "0" * 16}, "academic": {}}))
    (folder / "workings" / "results").mkdir(parents=True)
    exact.save(folder / "workings" / "results" / "01_x.parquet")
    write_seal(folder, review=review)
    return released


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_output(tmp_path / "out")
    return tmp_path / "out"


def faults_of(out: Path, to: Path, **given: object) -> str:
    before = sorted(to.parent.iterdir())
    with pytest.raises(EvalkitError) as caught:
        make_bundle(out, to, **({"review": REVIEW} | given))
    assert sorted(to.parent.iterdir()) == before
    assert str(SECRET) not in str(caught.value)
    return str(caught.value)


def test_a_bundle_holds_files_checksums_what_is_withheld_and_answers(out: Path, tmp_path: Path) -> None:
    bundle = make_bundle(out, tmp_path / "bundle", review=REVIEW)
    assert bundle.files == ("blocks.json", "peer.html", "manifest.json", "results.parquet")
    names = {str(p.relative_to(bundle.folder)) for p in bundle.folder.rglob("*") if p.is_file()}
    assert names == {f"files/{n}" for n in bundle.files} | {
        "READ_FIRST.md",
        "bundle.json",
        "checksums.txt",
        "withheld.csv",
    }
    for line in (bundle.folder / "checksums.txt").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle.folder / name).read_bytes()).hexdigest() == digest
    withheld = (bundle.folder / "withheld.csv").read_text().splitlines()
    assert withheld[1] == "description.people/few/n,few,primary,fewer than 10"
    page = (bundle.folder / "READ_FIRST.md").read_text()
    for told in ("`strict`", "synthetic", "shown as 90435", "For you to check", "No earlier release was named"):
        assert told in page
    assert str(SECRET) not in page


def test_the_same_output_gives_the_same_bundle_and_replaces_an_earlier_one(out: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    first = content(make_bundle(out, tmp_path / "bundle", review=REVIEW).folder)
    (tmp_path / "bundle" / "stray.txt").write_text("x")
    assert content(make_bundle(out, tmp_path / "bundle", review=REVIEW).folder) == first
    assert content(make_bundle(out, tmp_path / "other", review=REVIEW).folder) == first


def test_every_reason_is_told_at_once(out: Path, tmp_path: Path) -> None:
    (out / "peer.html").write_text(f"<p>There were {SECRET:,} of them.</p>")
    (out / "notes.txt").write_text("See /srv/jo/data.")
    held = Held("k", "peer", "text-a-2", "csv", ("a telephone number",))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("x")
    told = faults_of(out, tmp_path / "bundle", review=Review((OPEN,), held=(held,)))
    for reason in (
        "c0001: this comment has no answer", "held back for personal data", "peer.html: this file was changed",
        "notes.txt: this file was not rendered", "a path of the machine", "exact count of description.people/all/n",
        "do not say what the review record says now", "not empty and not an earlier bundle",
    ):  # fmt: skip
        assert reason in told, reason
    assert (tmp_path / "bundle" / "mine.txt").is_file()


def test_files_of_another_release_or_without_workings_are_refused(out: Path, tmp_path: Path) -> None:
    made(count=91_000)[1].save(out)
    assert "made from another release" in faults_of(out, tmp_path / "bundle")
    shutil.rmtree(out / "workings")
    (out / "rendered.json").unlink()
    told = faults_of(out, tmp_path / "bundle")
    assert "there is no rendered.json" in told
    assert "not there to be searched for" in told
    assert "there is no manifest.json" in faults_of(tmp_path / "nothing", tmp_path / "bundle")


def test_a_bundle_in_its_output_is_refused(out: Path) -> None:
    assert "cannot lie in the output" in faults_of(out, out / "bundle")


def test_a_release_that_was_not_compared_with_the_one_readers_have_is_refused(tmp_path: Path) -> None:
    first = write_output(tmp_path / "first")
    version = Version(1, hashlib.sha256(first.manifest_text.encode()).hexdigest(), {})
    review = replace(REVIEW, versions=(version,))
    make_bundle(tmp_path / "first", tmp_path / "bundle", review=review)
    write_output(tmp_path / "second", count=SECRET + 3, data="9" * 64)
    told = faults_of(tmp_path / "second", tmp_path / "new", review=review, earlier=first)
    assert "earlier release: this release was not compared with it" in told
    assert "version 1: it was released" in told
    write_output(tmp_path / "third", count=SECRET + 3, data="9" * 64, earlier=first)
    page = (
        make_bundle(tmp_path / "third", tmp_path / "new", review=review, earlier=first).folder / "READ_FIRST.md"
    ).read_text()
    assert "made from other data" in page


def test_a_version_is_recorded_once(out: Path, tmp_path: Path) -> None:
    assert record_release(out, tmp_path / "reviews").number == 1
    assert record_release(out, tmp_path / "reviews").number == 1
    assert [v.number for v in load_review(tmp_path / "reviews").versions] == [1]


def test_the_command_writes_the_bundle_and_records_only_when_asked(tmp_path: Path) -> None:
    write_output(tmp_path / "out", review=Review())
    app = Typer()
    app.command()(release_command)
    asked = [str(tmp_path / "out"), "--to", str(tmp_path / "bundle"), "--reviews", str(tmp_path / "reviews")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "READ_FIRST.md" in done.output
    assert not (tmp_path / "reviews").exists()
    done = CliRunner().invoke(app, [*asked, "--record"])
    assert "Version 1 is recorded" in done.output
    assert isinstance(CliRunner().invoke(app, [*asked[:3], "--record"]).exception, EvalkitError)
