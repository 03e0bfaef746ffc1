"""TRIPOD+AI for this release: each of 27 items with their parts, and where in the report it stands, if anywhere.

Collins and others (2024), BMJ 385:e078378; what each item asks is told in our own words. Whether something is there
is looked up in the release and the protocol each time; nothing is claimed, and what is in neither is left blank.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts, risk_group_tables, risk_tables
from evalkit.report.academic_risk import calibrated, other_curves
from evalkit.report.checklist import Item, Where, build_checklist, place, show_checklist
from evalkit.report.display import show_text
from evalkit.report.model_card import CARD_FILE
from evalkit.report.risk_words import plan, state_of, told_model
from evalkit.report.value_facts import has_numbers, slug

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_RISK = "Readmission risk models"
_PREDICTS = re.compile(r"predict|prognos|risk model", re.IGNORECASE)
N_ITEMS = 27


def show_tripod(release: Release) -> None:
    """The checklist as a table."""
    if not release.protocol.risk_model:
        show_text("The protocol plans no risk model, so the list of TRIPOD+AI does not apply.", id="text-no-tripod")
        return
    table = build_tripod(release)
    what = f"The {N_ITEMS} items of TRIPOD+AI [@collins2024], {len(table)} with their parts"
    show_checklist(table, name="TRIPOD+AI", key="tripod", what=what)


def build_tripod(release: Release) -> pd.DataFrame:
    """One row an item or part; see `build_checklist`."""
    return build_checklist(ITEMS, release)


# ---- what a release holds --------------------------------------------------------------------------


def _always(section: str, *ids: str) -> Where:
    return lambda _: [place(section, *ids)]


def _numbers(table: str, *ids: str) -> Where:
    """Where any number of a table is released."""
    return lambda release: [place(_RISK, *ids)] if has_numbers(release, table) else []


def _held(table: str, *ids: str) -> Where:
    """Where a table is shown with its reasons also if no number of it is released."""
    return lambda release: [place(_RISK, *ids)] if facts.release_has(release, table) else []


def _all_of(*parts: Where) -> Where:
    return lambda release: [text for part in parts for text in part(release)]


def _nowhere(_: Release) -> list[str]:
    """Neither the protocol nor a release has a field for it."""
    return []


def _title(release: Release) -> list[str]:
    study = release.protocol.study
    return [place("Title", "document")] if _PREDICTS.search(f"{study.title} {study.question}") else []


def _sizes(release: Release) -> list[str]:
    tables = {"tab-risk-size": risk_tables.size_table, "tab-risk-size-validation": risk_tables.validation_size_table}
    ids = [i for i, build in tables.items() if len(build(release))]
    return [place(_RISK, *ids)] if ids else []


def _readmission(release: Release) -> list[str]:
    """The outcome is defined where a readmission outcome is among the planned ones."""
    return [place("Protocol and estimands", "tab-definitions")] if release.protocol.outcomes_of("readmission") else []


def _measures(release: Release) -> list[str]:
    names = {"tab-risk": ("auroc", "auprc", "brier", "scaled_brier", "log_loss"),
             "tab-risk-calibration": ("observed_expected", "calibration_intercept", "calibration_slope", "ici", "e50",
                                      "e90", "emax")}  # fmt: skip
    rows = release.table("risk_performance")
    ids = [i for i, columns in names.items() if rows.loc[rows["column"].isin(columns), "value"].notna().any()]
    ids += [f"tab-risk-{t}" for t in ("time", "imputed") if has_numbers(release, f"risk_{t}")]
    ids += [f"fig-risk-calibration-{slug(model)}" for model in calibrated(release)[:1]]
    ids += ["fig-risk-calibration-others"] if other_curves(release) else []
    return [place(_RISK, *ids)] if ids else []


def _curves(release: Release) -> list[str]:
    ids = [i for table, found in (("risk_net_benefit", ("fig-risk-decision", "tab-risk-decision")),
                                  ("risk_net_benefit_competing", ("tab-risk-decision-competing",)))
           if has_numbers(release, table) for i in found]  # fmt: skip
    return [place(_RISK, *ids)] if ids else []


def _participants(release: Release) -> list[str]:
    return [place("Participants", "tab-one")] if facts.release_has(release, "table1") else []


def _flow(release: Release) -> list[str]:
    return [place("Participants", "fig-flow")] if facts.release_has(release, "attrition") else []


def _group_results(release: Release) -> list[str]:
    pairs = (("risk_groups", "tab-risk-groups"), ("risk_group_curve", "fig-risk-groups-calibration"),
             ("risk_group_threshold", "tab-risk-group-threshold"))  # fmt: skip
    ids = [i for table, i in pairs if has_numbers(release, table)]
    ids += ["tab-risk-gaps"] if len(risk_group_tables.gap_table(release)) else []
    return [place(_RISK, *ids)] if ids else []


def _group_plan(release: Release) -> list[str]:
    """Comparing groups was planned, and something was found of it."""
    return _group_results(release) if plan(release).groups else []


def _explained(release: Release) -> list[str]:
    return [place(_RISK, "tab-risk-terms")] if has_numbers(release, "risk_terms") else []


def _reading(release: Release) -> list[str]:
    found = [place(_RISK, "text-risk-reading")] if has_numbers(release, "risk_performance") else []
    return [*found, *([place(_RISK, "text-risk-groups")] if _group_results(release) else [])]


def _instability(release: Release) -> list[str]:
    ids = [*(["text-risk-instability"] if _primary_moves(release) else []),
           *(["fig-risk-instability"] if has_numbers(release, "risk_instability_curve") else [])]  # fmt: skip
    return [place(_RISK, *ids)] if ids else []


def _primary_moves(release: Release) -> bool:
    rows = facts.table_row(release, "risk_instability", told_model(release))
    return bool(rows.loc[rows["column"].isin(["mape", "share_beyond"]), "value"].notna().any())


def _checked(release: Release) -> list[str]:
    return [place("Checks", "tab-risk-checks")] if facts.release_has(release, "checks.risk") else []


def _data_quality(release: Release) -> list[str]:
    return [place("Participants", "tab-data")] if facts.release_has(release, "data_tables") else []


def _card(*sections: str) -> Where:
    """Sections of the model card, which is written beside the report."""
    return lambda _: [f"Model card, {CARD_FILE} beside this report: {', '.join(sections)}"]


def _input(release: Release) -> list[str]:
    return _card("Poor or missing input")(release) if state_of(release) == "shown" else []


_PROTOCOL = _always("Protocol and estimands", "text-protocol")
_METHODS = _always("Methods", "text-methods")
_BACKGROUND = _always("Background", "text-background")
_PROVENANCE = _always("Provenance", "tab-provenance")
_SAMPLE = _held("risk_sample", "tab-risk-sample")
_MISSING = _held("risk_missing", "tab-risk-missing")
_IMPUTED = _numbers("risk_imputed", "tab-risk-imputed")
_THRESHOLD = _numbers("risk_threshold", "tab-risk-threshold")
_OPTIMISM = _numbers("risk_optimism", "tab-risk-optimism")
_PLACES = _numbers("risk_places", "tab-risk-places", "fig-risk-places")
_UPDATED = _numbers("risk_recalibration", "tab-risk-recalibration")
_DRIFT = _numbers("risk_drift", "fig-risk-drift")
_INTENT = _always(_RISK, "text-risk-intent")

ITEMS = (
    Item("1", "Title", "That a prediction model is developed or evaluated, for whom and of what", _title),
    Item("2", "Abstract", "A summary by the list for abstracts", _nowhere),
    Item("3a", "Background", "The setting, why a model is wanted, and models there are already", _BACKGROUND,
         "Other models of readmission are not reviewed."),
    Item("3b", "Background", "For whom and for what the model is meant, and who is to use it",
         _all_of(_INTENT, _card("What it is for", "What it is not for"))),
    Item("3c", "Background", "Known inequalities in health between groups", _nowhere),
    Item("4", "Objectives", "Whether the study develops a model, evaluates one, or both", _METHODS),
    Item("5a", "Data", "Sources for development and evaluation, why these, and whom they represent",
         _all_of(_BACKGROUND, _data_quality), "Whom the records do not represent is not measured."),
    Item("5b", "Data", "Dates of the people's inclusion and end of follow-up", _PROTOCOL),
    Item("6a", "Participants", "Setting, number of centres and where they are", _PROTOCOL),
    Item("6b", "Participants", "Who could be included", _PROTOCOL),
    Item("6c", "Participants", "Treatments received, and how they were dealt with", _nowhere),
    Item("7", "Data preparation", "How data were prepared and checked, and whether alike across groups",
         _all_of(_data_quality, _checked), "Whether quality is alike across groups is not told."),
    Item("8a", "Outcome", "What is predicted, up to when, how it was assessed and why",
         _all_of(_readmission, _METHODS), "Whether it is assessed alike across groups is not told."),
    Item("8b", "Outcome", "Who assessed an outcome that needs judgement", _nowhere),
    Item("8c", "Outcome", "Whether those who assessed it were blinded", _nowhere),
    Item("9a", "Predictors", "How the first predictors were chosen", _METHODS, "Why these predictors is not said."),
    Item("9b", "Predictors", "What each predictor is, and how and when it was measured", _all_of(_MISSING, _explained),
         "Names alone; definitions are with the tables."),
    Item("9c", "Predictors", "Who assessed predictors that need judgement", _nowhere),
    Item("10", "Sample size", "How the size came about and why it is enough, for development and evaluation", _sizes),
    Item("11", "Missing data", "How missing values were dealt with, and why anybody was left out",
         _all_of(_METHODS, _MISSING, _IMPUTED)),
    Item("12a", "Analytical methods", "How data were used, and whether they were split", _all_of(_METHODS, _SAMPLE)),
    Item("12b", "Analytical methods", "How predictors entered the model", _explained,
         "Transformations are in the code, by its digest."),
    Item("12c", "Analytical methods", "Kind of model, steps, tuning and internal validation",
         _all_of(_METHODS, _OPTIMISM)),
    Item("12d", "Analytical methods", "How differences between clusters were dealt with", _PLACES),
    Item("12e", "Analytical methods", "Measures and plots of performance, and why",
         _all_of(_METHODS, _measures, _curves)),
    Item("12f", "Analytical methods", "Any updating of the model", _UPDATED),
    Item("12g", "Analytical methods", "How predictions were calculated in evaluation", _explained,
         "The intercept and the model's file are not in the release."),
    Item("13", "Class imbalance", "Whether it was dealt with, why and how", _METHODS),
    Item("14", "Fairness", "What was done about fairness, and why", _group_plan),
    Item("15", "Model output", "What the model gives, and how any threshold was chosen", _all_of(_INTENT, _THRESHOLD),
         "Why these thresholds is not said."),
    Item("16", "Training and evaluation", "How development and evaluation data differ", _all_of(_SAMPLE, _MISSING)),
    Item("17", "Ethical approval", "Who approved the study, and consent", _nowhere),
    Item("18a", "Funding", "Who paid, and their part in it", _nowhere),
    Item("18b", "Conflicts of interest", "The authors' interests", _nowhere),
    Item("18c", "Protocol", "Where the protocol is", _all_of(_PROTOCOL, _PROVENANCE),
         "The plan is named by its digest; where it can be read is not said."),
    Item("18d", "Registration", "Where the study is registered, or that it is not", _nowhere),
    Item("18e", "Data sharing", "Whether data can be had", _nowhere),
    Item("18f", "Code sharing", "Whether code can be had", _PROVENANCE,
         "The code is named by its digest; where it can be read is not said."),
    Item("19", "Patient and public involvement", "What part people who use services had", _nowhere),
    Item("20a", "Participants", "Flow of people, with and without the outcome, and follow-up", _all_of(_SAMPLE, _flow)),
    Item("20b", "Participants", "Who they are, by source: dates, predictors, outcomes, missing data",
         _all_of(_participants, _SAMPLE, _MISSING)),
    Item("20c", "Participants", "How predictors and outcome differ from the development data",
         _all_of(_SAMPLE, _MISSING), "Counts, outcomes and missing values; not the predictors themselves."),
    Item("21", "Model development", "People and events in each analysis", _SAMPLE),
    Item("22", "Model specification", "The whole model, so that others can predict with it", _explained,
         "The intercept and the model's file are not in the release."),
    Item("23a", "Model performance", "Performance with intervals, also in groups", _all_of(_measures, _group_results)),
    Item("23b", "Model performance", "How performance differs between clusters", _PLACES),
    Item("24", "Model updating", "Results of updating, and performance after it", _all_of(_UPDATED, _DRIFT)),
    Item("25", "Interpretation", "What the main results mean, also for fairness, beside earlier studies", _reading,
         "Earlier studies are not compared."),
    Item("26", "Limitations", "Limits and what they do to bias, uncertainty and use elsewhere",
         _all_of(_always("Limitations", "text-limitations"), _instability)),
    Item("27a", "Usability", "What to do in use with poor or missing input", _input),
    Item("27b", "Usability", "What users have to do and to know",
         _card("What it is for", "What it is not for", "Thresholds"), "How users would be trained is not said."),
    Item("27c", "Usability", "What should be studied next", _nowhere),
)  # fmt: skip
