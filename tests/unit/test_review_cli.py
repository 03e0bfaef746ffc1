"""`evalkit review`: import, status and answer, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalkit.cli_review import review_app
from evalkit.core.errors import ParameterError, ReviewError
from evalkit.review.load import load_review
from tests.review_factory import BLOCKS, entry, write_html

CALL = CliRunner()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "blocks.json").write_text(json.dumps(BLOCKS))
    return folder


def call(*arguments: object):
    done = CALL.invoke(review_app, [str(a) for a in arguments], env={"COLUMNS": "160"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_a_comment_goes_from_its_file_to_its_answer(tmp_path: Path, report: Path) -> None:
    page, record = write_html(tmp_path / "a.html", entry("Not [bold]so[/bold].")), tmp_path / "rev"
    code, said = call("import", page, "--reviews", record, "--report", report)
    assert (code, "c0001" in said) == (0, True)
    code, said = call("status", "--reviews", record)
    assert code == 1
    for words in (
        "c0001",
        "peer/text-a-1",
        "This is not clear",
        "Not [bold]so[/bold].",
        "an answer",
        "1 still to answer",
    ):
        assert words in said
    answer = (
        "--status",
        "changed",
        "--reply",
        "Now it is.",
        "--by",
        "A",
        "--changed",
        "text-a-1",
        "--changed",
        "fig-a",
    )
    code, said = call("answer", "c0001", "--reviews", record, *answer, "--report", report)
    assert code == 0
    assert load_review(record).comments[0].changed == ("text-a-1", "fig-a")
    code, said = call("status", "--reviews", record)
    assert (code, "Nothing is missing" in said, "We changed the report: 1" in said) == (0, True, True)
    code, said = call("import", page, "--reviews", record, "--report", report)
    assert (code, "Repeated: a.html, comment 1 is c0001" in said) == (0, True)


def test_personal_data_are_never_echoed_and_exit_with_1(tmp_path: Path, report: Path) -> None:
    page, record = write_html(tmp_path / "a.html", entry("I am at SE5 8AZ.")), tmp_path / "rev"
    common = (page, "--reviews", record, "--report", report)
    code, said = call("import", *common)
    assert (code, "postcode" in said, "8AZ" in said) == (1, True, False)
    code, said = call("status", "--reviews", record)
    assert (code, "postcode" in said, "8AZ" in said) == (1, True, False)
    code, said = call("import", *common, "--accept-flags", "It is a public place.")
    assert (code, "can never be accepted" in said) == (1, True)
    code, said = call("import", *common, "--blank-flags")
    assert (code, "8AZ" in said) == (0, False)
    assert load_review(record).comments[0].text == "I am at [postcode removed]."
    assert call("import", *common, "--blank-flags", "--accept-flags", "x")[0] == 2


def test_the_same_words_of_another_reader(tmp_path: Path, report: Path) -> None:
    page, record = write_html(tmp_path / "a.html", entry("I agree.")), tmp_path / "rev"
    common = (page, "--reviews", record, "--report", report)
    call("import", *common)
    assert "--another-reader" in call("import", *common)[1]
    assert "c0002" in call("import", *common, "--another-reader")[1]


def test_what_is_refused_comes_as_a_named_error(tmp_path: Path, report: Path) -> None:
    bad = write_html(tmp_path / "a.html", entry("x", block="nowhere"))
    with pytest.raises(ReviewError):
        call("import", bad, "--reviews", tmp_path / "rev", "--report", report)
    with pytest.raises(ReviewError):
        call("import", bad, "--reviews", tmp_path / "rev", "--report", tmp_path)
    with pytest.raises(ParameterError, match="needs_analysis"):
        call("answer", "c0001", "--reviews", tmp_path, "--status", "done", "--reply", "x", "--by", "A")


def test_an_empty_record_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "rev").mkdir()
    code, said = call("status", "--reviews", tmp_path / "rev")
    assert (code, "No reader has commented yet" in said) == (0, True)


def test_a_record_whose_name_is_wrong_does_not_read_as_answered(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="no such folder"):
        call("status", "--reviews", tmp_path / "none")


def test_a_quote_is_kept_only_if_the_page_that_was_read_has_it(tmp_path: Path, report: Path) -> None:
    (report / "peer.html").write_text(
        "<style>hidden</style><p>About <b>15</b> people&nbsp;in 100, &amp; more.</p>", encoding="utf-8"
    )
    page = write_html(
        tmp_path / "a.html", entry("One.", quote="15 people in 100, & more…"), entry("Two.", quote="My own words"),
        entry("Three.", quote="hidden"), entry("Four.", quote="—"),
    )  # fmt: skip
    code, said = call("import", page, "--reviews", tmp_path / "rev", "--report", report)
    assert code == 0
    assert [c.quote for c in load_review(tmp_path / "rev").comments] == ["15 people in 100, & more…", "", "", ""]
    assert said.count("its quote is not in the peer report") == 3
    assert "own words" not in said


def test_a_changed_part_that_nobody_looked_up_is_said_to_be_so(tmp_path: Path, report: Path) -> None:
    call("import", write_html(tmp_path / "a.html", entry("x y")), "--reviews", tmp_path, "--report", report)
    answer = (
        "answer",
        "c0001",
        "--reviews",
        tmp_path,
        "--status",
        "changed",
        "--reply",
        "Y.",
        "--by",
        "A",
        "--changed",
    )
    with pytest.raises(ReviewError, match="changed names what is no id"):
        call(*answer, "The table on page 3")
    assert "nobody checked" in call(*answer, "fig-z")[1]


def test_an_id_whose_comment_is_gone_is_told(tmp_path: Path, report: Path) -> None:
    page = write_html(tmp_path / "a.html", entry("One."), entry("Two."), entry("Three."))
    call("import", page, "--reviews", tmp_path, "--report", report)
    (tmp_path / "comments" / "c0002.yaml").unlink()
    assert "Taken out of the record: c0002" in call("status", "--reviews", tmp_path)[1]
