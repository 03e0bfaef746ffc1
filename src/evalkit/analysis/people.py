"""Who is in the tables and who is studied."""

from __future__ import annotations

import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.cohort import build_cohort
from evalkit.core.protocol import Protocol
from evalkit.core.result import Cell, Results

_AGE_BANDS = ((0, 34, "under 35"), (35, 49, "35 to 49"), (50, 64, "50 to 64"), (65, 200, "65 and over"))


def describe_cohort(study: Study) -> list[Results]:
    """Attrition and Table 1; nothing where the study holds no people or no single go-live."""
    if not study.tables.has("people"):
        return []
    if study.protocol.dates.adoption is None or study.protocol.exposure.by != "area":
        return [Results.from_cells("table1", _table1(study.tables.read("people"), None))]
    cohort = build_cohort(study.tables, study.protocol)
    group = cohort.people["group"]
    return [
        Results.from_cells("attrition", cohort.cells(group)),
        Results.from_cells("table1", _table1(cohort.people, study.protocol)),
    ]


def _table1(people: pd.DataFrame, protocol: Protocol | None) -> list[Cell]:
    """Counts and percentages of each characteristic by group, each level a part of its group."""
    group = people["group"] if "group" in people else pd.Series("Everybody", index=people.index)
    year = protocol.dates.adoption.year if protocol and protocol.dates.adoption else None
    variables = {
        "sex": ("Sex", people["sex"]),
        "ethnic_group": ("Ethnic group", people["ethnic_group"]),
        "dual_diagnosis": ("Dual diagnosis", _yes_no(people["dual_diagnosis"])),
        "forensic_history": ("Forensic history", _yes_no(people["forensic_history"])),
        "psychosis": ("Schizophrenia and related", _yes_no(_psychosis(people["primary_diagnosis"]))),
        "imd_fifth": ("Deprivation fifth (1 most deprived)", _fifth(people["imd_decile"])),
    }
    if year:
        variables["age"] = ("Age at go-live", _bands(year - people["birth_year"]))
    cells = []
    for name in sorted(group.unique()):
        inside = group == name
        cells.append(Cell("all", name, int(inside.sum()), "count", label="All"))
        cells += [
            c for key, (label, values) in variables.items() for c in _level_cells(key, label, values[inside], name)
        ]
        if year:
            age = (year - people["birth_year"])[inside].astype(float)
            cells.append(
                Cell(
                    "age.mean",
                    name,
                    float(age.mean()),
                    "mean",
                    unit="years",
                    n_people=int(inside.sum()),
                    denominator=f"all/{name}",
                    label="Mean age at go-live",
                )
            )
    return cells


def _level_cells(key: str, label: str, values: pd.Series, group: str) -> list[Cell]:
    cells = []
    for level, count in values.value_counts().sort_index().items():
        row = f"{key}.{level}"
        words = f"{label}: {level}"
        cells.append(Cell(row, group, int(count), "count", totals=(f"all/{group}",), label=words))
        cells.append(
            Cell(
                row,
                f"{group} %",
                100 * count / len(values),
                "percent",
                unit="%",
                numerator=f"{row}/{group}",
                denominator=f"all/{group}",
                label=words,
            )
        )
    return cells


def _yes_no(values: pd.Series) -> pd.Series:
    return values.astype("boolean").map({True: "yes", False: "no"}).astype(object).where(values.notna(), "not recorded")


def _psychosis(diagnosis: pd.Series) -> pd.Series:
    return diagnosis.str.startswith("F2").astype("boolean").where(diagnosis.notna())


def _fifth(decile: pd.Series) -> pd.Series:
    fifth = ((decile.astype("Float64") + 1) // 2).astype("Int64").astype(str)
    return fifth.where(decile.notna(), "not recorded")


def _bands(age: pd.Series) -> pd.Series:
    out = pd.Series("not recorded", index=age.index, dtype=object)
    for low, high, name in _AGE_BANDS:
        out[age.between(low, high)] = name
    return out
