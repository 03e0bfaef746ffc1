"""The model card says what the release holds, and nothing where it holds nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evalkit.core.errors import OutputError
from evalkit.disclose import Release, load_release
from evalkit.pipeline.reporting import write_card
from evalkit.pipeline.staging import Staging, check_output, output_names, publish
from evalkit.report.model_card import CARD_FILE, MISSING, render_model_card
from evalkit.report.risk_group_words import count_gaps
from evalkit.report.risk_tables import performance_lines
from tests.report_factory import make_release
from tests.risk_factory import WORLDS, every_table, risk_protocol, risk_release

HEADINGS = ["The model", "What it is for", "What it is not for", "Poor or missing input", "Data", "Performance",
            "Groups", "Thresholds", "Limits", "Version and protocol"]  # fmt: skip


def section(card: str, name: str) -> str:
    return re.split(r"\n## ", card.split(f"## {name}\n")[1])[0]


@pytest.mark.parametrize("world", WORLDS)
def test_every_section_is_there_and_whole(world) -> None:
    found = risk_release(world)
    card = render_model_card(found)
    assert re.findall(r"(?m)^## (.+)$", card) == HEADINGS
    assert not re.search(r"\bnan\b|\binf\b|None", card)
    assert found.protocol.digest in card
    assert all(line.count("|") > 2 for line in card.splitlines() if line.startswith("|"))
    assert "Simulated records" in card


def test_every_number_of_performance_is_the_releases() -> None:
    found = risk_release("good")
    card = section(render_model_card(found), "Performance")
    lines = performance_lines(found)
    assert len(lines) == 12
    for name, text, _ in lines:
        assert f"| {name} | {text} |" in card
    assert "0.135 (0.125 to 0.145)" in card


def test_a_refused_model_has_no_use_and_no_number() -> None:
    card = render_model_card(risk_release("refused"))
    assert "**refused; there is no model to use.** Fewer than 10 events per predictor parameter." in card
    assert "**At present: no use.**" in section(card, "What it is for")
    assert not re.search(r"AUROC \d", card)
    assert MISSING in section(card, "Thresholds")
    assert "Nobody should take it to be fair" in section(card, "Groups")


def test_limits_follow_the_numbers() -> None:
    limits = {w: section(render_model_card(risk_release(w)), "Limits") for w in ("good", "too_high", "refused")}
    assert "Risks are too high on average." in limits["too_high"]
    assert "too high on average" not in limits["good"]
    assert "Failed check: Events for each predictor parameter." in limits["refused"]
    assert "Performance by year is not in this release." in limits["refused"]


def test_an_unfair_model_says_for_whom() -> None:
    groups = section(render_model_card(risk_release("unfair")), "Groups")
    assert "AUROC (worse for Black, beside" in groups
    assert f"{count_gaps(risk_release('unfair')).looked} gaps were looked at" in groups
    assert "**more stand out than chance gives**" in groups
    good = section(render_model_card(risk_release("good")), "Groups")
    assert "No gap stands out." in good
    assert "worse for" not in good


def test_poor_input_is_told_only_where_there_is_a_model() -> None:
    told = {w: section(render_model_card(risk_release(w)), "Poor or missing input") for w in ("good", "refused")}
    assert "median of development" in told["good"]
    assert told["refused"].strip() == "There is no model to give input to."


def test_without_its_tables_the_card_says_so() -> None:
    card = render_model_card(risk_release("good", drop=every_table()))
    assert "it was not validated in this release" in card
    assert card.count(MISSING) >= 3
    assert not re.search(r"\d\.\d\d", section(card, "Performance") + section(card, "Groups"))


def test_few_people_leave_no_number() -> None:
    card = render_model_card(risk_release("good", few=True))
    assert "its performance is withheld" in card
    assert not re.search(r"AUROC \d", card)


def test_another_model_than_the_planned_one_is_named_so() -> None:
    found = risk_release("good")
    named = found.protocol.risk_model.model_copy(update={"primary": "own"})
    protocol = found.protocol.model_copy(update={"risk_model": named})
    card = render_model_card(risk_release("good", protocol=protocol))
    assert "Model: Earlier admissions alone (planned: Own, which was not made)." in card


def test_without_a_model_there_is_nothing_to_describe() -> None:
    card = render_model_card(make_release("none", drop=every_table(), protocol=risk_protocol(risk=False)))
    assert "asks for no risk model" in card


# ---- beside the reports --------------------------------------------------------------------------


def staged(tmp_path: Path, found: Release) -> Staging:
    """A run that has passed the gate and rendered its reports."""
    staging = Staging(tmp_path / "out", tmp_path / ".out.partial", {}, {})
    staging.workings.mkdir(parents=True)
    found.save(staging.folder)
    for name in output_names(("peer",)) - {"workings", "results.parquet", "manifest.json", CARD_FILE}:
        (staging.folder / name).write_text("a report")
    return staging


def test_the_card_is_written_from_the_release_and_published_with_the_rest(tmp_path) -> None:
    found = risk_release("good")
    staging = staged(tmp_path, found)
    assert not staging.out.exists()
    publish(staging, ("peer",), more=write_card(staging))
    assert (staging.out / CARD_FILE).read_text(encoding="utf-8") == render_model_card(load_release(staging.out))
    assert check_output(staging.out, ("peer",)) == []  # the next run may replace it


def test_an_output_without_its_card_is_not_published(tmp_path) -> None:
    staging = staged(tmp_path, risk_release("good"))
    with pytest.raises(OutputError, match=CARD_FILE):
        publish(staging, ("peer",), more=(CARD_FILE,))
    assert not staging.out.exists()


def test_without_a_planned_model_no_card_is_written(tmp_path) -> None:
    found = make_release("none", drop=every_table(), protocol=risk_protocol(risk=False))
    staging = staged(tmp_path, found)
    assert write_card(staging) == ()
    publish(staging, ("peer",))
    assert CARD_FILE not in {path.name for path in staging.out.iterdir()}
