"""Two commands at once, and one that was broken off: nothing of a record is lost without anybody noticing."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evalkit.core.errors import OutputError, ReviewError
from evalkit.review.collect import import_comments
from evalkit.review.load import load_review
from evalkit.review.lock import LOCK, only_writer
from evalkit.review.save import answer_comment, save_version
from tests.review_factory import BLOCKS, entry, write_html


def take(page: Path, to: Path):
    return import_comments([page], to, blocks=BLOCKS)


def test_two_imports_at_once_lose_nothing(tmp_path: Path) -> None:
    pages = [write_html(tmp_path / f"{n}.html", entry(f"Comment {n} of mine.")) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda page: take(page, tmp_path / "rev"), pages))
    stored = load_review(tmp_path / "rev").comments
    assert sorted(c.id for one in done for c in one.added) == [c.id for c in stored]
    assert {c.text for c in stored} == {f"Comment {n} of mine." for n in range(6)}
    assert not (tmp_path / "rev" / LOCK).exists()


def test_an_answer_and_an_import_at_once_are_both_kept(tmp_path: Path) -> None:
    take(write_html(tmp_path / "a.html", *(entry(f"Comment {n}.") for n in range(5))), tmp_path / "rev")
    page = write_html(tmp_path / "b.html", entry("Late."))
    with ThreadPoolExecutor(6) as pool:
        answers = [
            pool.submit(answer_comment, tmp_path / "rev", f"c000{n}", status="accepted", reply="Yes.", by="A")
            for n in range(1, 6)
        ]
        late = pool.submit(take, page, tmp_path / "rev")
        for one in [*answers, late]:
            one.result()
    assert [c.status for c in load_review(tmp_path / "rev").comments] == ["accepted"] * 5 + ["open"]


def test_who_waits_too_long_is_told_what_to_do(tmp_path: Path) -> None:
    with (
        only_writer(tmp_path / "rev"),
        pytest.raises(OutputError, match="another command is writing"),
        only_writer(tmp_path / "rev", patience=0.1),
    ):
        pass
    assert not (tmp_path / "rev").exists(), "an empty folder was left"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        save_version(tmp_path, manifest_digest="m", blocks=BLOCKS)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "rev").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        save_version(tmp_path / "rev", manifest_digest="m", blocks=BLOCKS)


def test_a_write_broken_off_between_old_and_new_is_noticed(tmp_path: Path) -> None:
    page, record = write_html(tmp_path / "a.html", entry("One.")), tmp_path / "rev"
    take(page, record)
    (record / "comments").rename(record / ".comments-new-old")
    with pytest.raises(ReviewError, match="a write was broken off"):
        load_review(record)
    shutil.copytree(record / ".comments-new-old", record / "comments")
    more = take(write_html(tmp_path / "b.html", entry("Two.")), record)
    assert [c.id for c in more.added] == ["c0002"]
    assert sorted(path.name for path in record.iterdir()) == ["comments"]


def test_comments_that_are_no_folder_are_no_empty_record(tmp_path: Path) -> None:
    (tmp_path / "comments").write_text("x")
    with pytest.raises(ReviewError, match="not there as a folder"):
        load_review(tmp_path)
