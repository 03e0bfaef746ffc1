"""A model card in Markdown: what a risk model is for and not for, how it does, for whom, and where its limits are.

In the manner of Mitchell and others (2019), "Model Cards for Model Reporting", doi 10.1145/3287560.3287596. Every
number is one of the release; what the release does not hold is said to be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts, risk_group_tables, risk_tables
from evalkit.report.phrases import full_stop, listed, starts_with_capital
from evalkit.report.plain import referee_reason
from evalkit.report.risk_group_words import count_gaps, count_sentence, gap_sentence, read_gaps
from evalkit.report.risk_words import (
    VERDICTS,
    beats_rule,
    expectation_sentence,
    main_key,
    model_words,
    overlap_sentence,
    performance_sentences,
    plan,
    read_measure,
    refusal_of,
    side_of,
    split_key,
    state_of,
    told,
    told_model,
    use_sentence,
    verdicts,
)
from evalkit.report.value_facts import has_numbers, read_amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

MISSING = "Not in this release."
CARD_FILE = "model_card.md"


def render_model_card(release: Release) -> str:
    """The card of the primary model at the main horizon, as Markdown with headings of the second level.

    Returns a card that says so where the protocol asks for no model, or the model was refused.
    """
    title = f"# Model card: {release.protocol.study.title}"
    if not release.protocol.risk_model:
        return f"{title}\n\nThe protocol asks for no risk model, so there is none to describe.\n"
    banner = (
        ["**Simulated records.** No number here is about a real person."] if release.protocol.study.synthetic else []
    )
    parts = [title, *banner, *(f"## {name}\n\n{text(release)}" for name, text in _SECTIONS)]
    return "\n\n".join(parts) + "\n"


def _table(frame: pd.DataFrame) -> str:
    """A pipe table; bars within cells are spelt out, so that they do not end one."""
    if frame.empty:
        return MISSING
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(c).replace('|', '/') for c in line)} |" for line in lines)


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else MISSING


# ---- what it is ----------------------------------------------------------------------------------


def _model(release: Release) -> str:
    model = plan(release)
    lines = [
        f"Model: {model_words(release, told_model(release))}{_instead(release)}.",
        f"Predicts: readmission within {model.horizon_days} days of discharge; death before it competes.",
        f"State: {_state(release)}",
        f"Compared with: {listed([model_words(release, m) for m in model.models if m != told_model(release)])}.",
        f"Developed on discharges before {model.develop_until}; validated on later ones.",
    ]
    return _items(lines)


def _instead(release: Release) -> str:
    """That another model than the planned one is told of."""
    primary = plan(release).primary
    return "" if told_model(release) == primary else f" (planned: {model_words(release, primary)}, which was not made)"


def _state(release: Release) -> str:
    state = state_of(release)
    if state == "shown":
        return "validated on later discharges."
    if state == "refused":
        reason = refusal_of(release)
        why = f" {full_stop(referee_reason(reason))}" if reason else ""
        return f"**refused; there is no model to use.**{why}"
    return "its performance is withheld." if state == "withheld" else "it was not validated in this release."


def _intended(release: Release) -> str:
    place = release.protocol.study.place
    population = release.protocol.population.label
    return _items([
        f"People: {population} ({place}), at discharge.",
        "Use: to offer more support after discharge, beside what a person and those who know them say.",
        "Users: clinical teams who can offer it, and who have been told what the numbers below mean.",
        *([] if state_of(release) == "shown" else ["**At present: no use.** There is no performance to rest one on."]),
    ])  # fmt: skip


def _not_for(_: Release) -> str:
    return _items([
        "Deciding on admission, detention, discharge or the refusal of any care.",
        "Finding causes, or judging what a treatment or service did: it says who, not why.",
        "Judging staff, teams or places by who comes back.",
        "People, places or years unlike those below, unless it is validated there first.",
    ])  # fmt: skip


def _poor_input(release: Release) -> str:
    """What the model does with what is missing, and what `evalkit risk predict` refuses."""
    if state_of(release) != "shown":
        return "There is no model to give input to."
    filled = "A missing number is taken as the median of development, and that it was missing is told to the model."
    branch = "A missing number takes a branch of its own in each tree."
    return _items([
        branch if told_model(release) == "gradient_boosting" else filled,
        "A category that is missing is a level of its own.",
        "At use, columns that are absent or of another type, categories never seen in development, values missing "
        "where none was in development, and infinite numbers are refused; so is a column with more than a tenth of its "
        "values outside the range of development. In the validation below, new categories and new gaps were counted "
        "as rare, or as the median, and a failed check says so.",
        "Where more is missing than in development (see Data), the performance below is not to be expected.",
    ])  # fmt: skip


# ---- numbers -------------------------------------------------------------------------------------


def _data(release: Release) -> str:
    parts = [_table(risk_tables.sample_table(release)), f"Counts are rounded. {overlap_sentence(release)}".strip()]
    missing = risk_tables.missing_table(release)
    parts += [_table(missing)] if len(missing) else []
    size = [
        f"{'The service’s own people' if who == 'service' else model_words(release, who)}: the sample is "
        f"{VERDICTS.get(verdict, verdict)}. {full_stop(reason) if reason else ''}".strip()
        for who, verdict, reason in verdicts(release)
    ]  # fmt: skip
    return "\n\n".join([*parts, *([_items(size)] if size else [])])


def _performance(release: Release) -> str:
    lines = risk_tables.performance_lines(release)
    if not any(amount.has_number for *_, amount in lines):
        return MISSING if not lines else f"No number stands here. {starts_with_capital(_state(release))}"
    frame = pd.DataFrame([[name, text] for name, text, _ in lines], columns=["Measure", "Value (interval)"])
    corrected = read_amount(release, "risk_optimism", main_key(release, "risk_optimism"), "auroc|corrected")
    parts = [_table(frame), performance_sentences(release, told_model(release)), beats_rule(release)]
    if corrected.has_number:
        parts.append(f"AUROC corrected for optimism on the development discharges: {told(corrected)}.")
    return "\n\n".join(full_stop(p) if not p.startswith("|") else p for p in parts if p)


def _groups(release: Release) -> str:
    lines = [f"{name}: {text}." for name, text in risk_group_tables.group_lines(release)]
    gaps = [gap_sentence(release, gap) for gap in read_gaps(release)]
    threshold = risk_group_tables.group_threshold_table(release)
    parts = [_items(lines)] if lines else []
    parts += [count_sentence(count_gaps(release)), _items(gaps)] if gaps else []
    parts += [_table(threshold)] if len(threshold) else []
    return "\n\n".join(parts) or f"{MISSING} Nobody should take it to be fair."


def _thresholds(release: Release) -> str:
    parts = [_table(risk_tables.threshold_table(release))]
    if has_numbers(release, "risk_net_benefit"):
        parts.append(f"{use_sentence(release, told_model(release))} It is taken that acting helps.")
    return "\n\n".join(parts)


def _limits(release: Release) -> str:
    primary = told_model(release)
    rows = release.table("checks.risk")
    own = rows["row"].isin([primary, f"{plan(release).horizon_days}|{primary}", "sample"])
    failed = rows[own & (rows["unit"] == "failed") & (rows["status"] == "shown")]
    lines = [f"Failed check: {starts_with_capital(full_stop(str(r.reason)))}" for r in failed.itertuples()]
    for measure, null, below, above in (
        ("observed_expected", 1.0, "Risks are too high on average.", "Risks are too low on average."),
        ("calibration_slope", 1.0, "High risks are too high and low ones too low.",
         "High risks are too low and low ones too high."),
    ):  # fmt: skip
        side = side_of(read_measure(release, measure), null)
        lines += [below] if side == "below" else [above] if side == "above" else []
    lines += [said] if (said := expectation_sentence(release)) else []
    moved = risk_tables.instability_sentence(release, primary)
    lines += [moved] if moved else ["How far risks would move with another sample is not in this release."]
    lines += _drifted(release)
    for table, what in (("risk_places", "Performance in each area"), ("risk_drift", "Performance by year"),
                        ("risk_recalibration", "Performance after updating")):  # fmt: skip
        if not has_numbers(release, table):
            lines.append(f"{what} is not in this release.")
    held = int(release.manifest.get("counts", {}).get("suppressed", 0))
    lines += [f"{held} numbers of the release are withheld: small groups cannot be judged from it."] if held else []
    return _items(lines)


def _drifted(release: Release) -> list[str]:
    rows = release.table("risk_drift")
    rows = rows[(rows["column"] == "observed_expected") & rows["value"].notna()]
    if rows.empty:
        return []
    last = rows.iloc[-1]
    amount = read_amount(release, "risk_drift", str(last["row"]), "observed_expected")
    return [f"In {last['row']}, the last year shown, observed over expected was {told(amount, 'ratio')}."]


def _provenance(release: Release) -> str:
    manifest = release.manifest
    h, model = split_key(release, main_key(release))
    return _items([
        f"evalkit {manifest.get('evalkit_version', 'version not recorded')}",
        f"Protocol (SHA-256): {release.protocol.digest}",
        f"Tables (SHA-256): {manifest.get('data_digest', 'not recorded')}",
        f"Code (SHA-256): {manifest.get('code_digest', 'not recorded')}",
        f"Disclosure: {release.protocol.disclosure.profile}; counts below {facts.threshold(release)} are withheld",
        f"Row of the numbers: {h}|{model}",
    ])  # fmt: skip


_SECTIONS = (
    ("The model", _model), ("What it is for", _intended), ("What it is not for", _not_for),
    ("Poor or missing input", _poor_input), ("Data", _data), ("Performance", _performance), ("Groups", _groups),
    ("Thresholds", _thresholds), ("Limits", _limits), ("Version and protocol", _provenance),
)  # fmt: skip
