"""A release: who can make one, what its manifest says, how it is saved and read back."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from evalkit.core.errors import DisclosureError, OutputError
from evalkit.core.protocol import load_protocol
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, load_release, policy, release

PROTOCOL = load_protocol(Path(__file__).parents[2] / "protocols" / "ipsa.toml")
PROVENANCE = {
    "evalkit_version": "0.1.0",
    "data_digest": "0" * 64,
    "tables": {"people": {"rows": 1203, "sha256": "1" * 64}, "contacts": 52_917, "budgets": {"rows": 4}},
    "code_digest": "2" * 64,
    "environment": {"python": "3.11"},
}
KEYS = {
    "evalkit_version", "protocol", "protocol_digest", "data_digest", "tables", "code_digest", "environment",
    "profile", "suppressed", "counts", "files",
}  # fmt: skip


def some_results() -> Results:
    cells = [
        Cell("all", "n", 206, "count"),
        Cell("sex.female", "n", 94, "count", totals=("all/n",)),
        Cell("sex.male", "n", 108, "count", totals=("all/n",)),
        Cell("sex.other", "n", 4, "count", totals=("all/n",)),
        Cell("sex.other", "percent", 100 * 4 / 206, "percent", numerator="sex.other/n", denominator="all/n"),
    ]
    return Results.from_cells("table1", cells).stamped(notebook="cohort", protocol=PROTOCOL.digest, data="0" * 64)


def make(**changes: object) -> Release:
    given = {"policy": policy("strict"), "protocol": PROTOCOL, "provenance": PROVENANCE} | changes
    return release(some_results(), **given)


def test_only_the_gate_makes_a_release() -> None:
    made = make()
    with pytest.raises(DisclosureError, match="made by the gate alone"):
        Release(some_results(), "{}", PROTOCOL)
    with pytest.raises(DisclosureError, match="made by the gate alone"):
        Release(some_results(), "{}", PROTOCOL, made_by=object())
    with pytest.raises((DisclosureError, ValueError)):
        dataclasses.replace(made, results=some_results())
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.results = some_results()


def test_a_release_cannot_be_changed_through_what_it_hands_out() -> None:
    made = make()
    before = copy.deepcopy(made.manifest)
    made.manifest["suppressed"].clear()
    for handed_out in (made.table("table1"), made.results.frame):
        handed_out["value"] = 4.0
    assert made.manifest == before
    assert 4.0 not in made.table("table1")["value"].tolist()


def test_the_manifest_says_what_was_withheld_and_holds_no_exact_count() -> None:
    manifest = make().manifest
    assert set(manifest) == KEYS
    rules = {entry["id"]: entry["rule"] for entry in manifest["suppressed"]}
    assert rules["table1/sex.other/n"] == "primary"
    assert rules["table1/sex.female/n"] == "complementary"
    assert rules["table1/sex.other/percent"] == "linked"
    assert manifest["counts"]["primary"] + manifest["counts"]["linked"] + manifest["counts"]["complementary"] == len(
        rules
    )
    assert manifest["counts"]["numbers"] == 5
    assert manifest["tables"] == {
        "people": {"rows": 1205, "sha256": "1" * 64},
        "contacts": {"rows": 52_915},
        "budgets": {"rows": "fewer than 10"},
    }
    assert manifest["profile"]["threshold"] == 10
    assert manifest["protocol_digest"] == PROTOCOL.digest
    told = json.dumps({k: v for k, v in manifest.items() if k != "protocol"})
    assert not {"1203", "52917", "206", "94", "108"} & set(told.replace(",", " ").replace("}", " ").split())


def test_a_release_comes_back_as_it_went(tmp_path: Path) -> None:
    made = make()
    made.save(tmp_path / "new" / "out")
    back = load_release(tmp_path / "new" / "out")
    pd.testing.assert_frame_equal(back.results.frame, made.results.frame)
    assert back.manifest == made.manifest
    assert back.protocol == PROTOCOL
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == ["manifest.json", "results.parquet"]


def test_two_releases_of_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make().save(tmp_path / name)
    for file in ("results.parquet", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    digest = hashlib.sha256((tmp_path / "one" / "results.parquet").read_bytes()).hexdigest()
    assert make().manifest["files"] == {"results.parquet": digest}


def test_tampering_and_missing_files_are_found(tmp_path: Path) -> None:
    def spoil(what: str) -> Path:
        folder = tmp_path / what
        make().save(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if what == "results":
            some_results().save(folder / "results.parquet")
        elif what == "protocol":
            manifest["protocol"]["study"]["seed"] += 1
        elif what == "invalid":
            manifest["protocol"]["nonsense"] = 1
        elif what == "key":
            del manifest["suppressed"]
        elif what == "absent":
            (folder / "results.parquet").unlink()
        (folder / "manifest.json").write_text("{" if what == "json" else json.dumps(manifest), encoding="utf-8")
        return folder

    for what, message in {
        "results": "not the file the manifest was written for", "protocol": "does not have the digest",
        "invalid": "protocol in the manifest is not valid", "key": "lacks suppressed",
        "absent": "there is no results.parquet", "json": "is not JSON",
    }.items():  # fmt: skip
        with pytest.raises(DisclosureError, match=message):
            load_release(spoil(what))
    with pytest.raises(DisclosureError, match=r"there is no manifest\.json"):
        load_release(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        make().save(tmp_path / "file")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_a_write_that_fails_half_way_leaves_the_old_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().save(tmp_path)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if "manifest" in self.name:
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        make().save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_a_call_that_does_not_fit_the_protocol_is_refused_with_every_fault() -> None:
    wrong = {k: v for k, v in PROVENANCE.items() if k != "code_digest"} | {"people_by_name": ["A"]}
    with pytest.raises(DisclosureError) as caught:
        make(policy=policy("hes"), provenance=wrong)
    said = str(caught.value)
    assert "the policy is not the one that the protocol names" in said
    assert '"people_by_name" is not known' in said
    assert '"code_digest" is missing' in said
    foreign = Results(some_results().frame.assign(protocol="f" * 64))
    with pytest.raises(DisclosureError, match="another protocol"):
        release(foreign, policy=policy("strict"), protocol=PROTOCOL, provenance=PROVENANCE)
