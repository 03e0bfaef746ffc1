"""Proposition 99: permutation p-values and intervals against R's placebo effects of all 38 control states.

Source: synthdid 0.0.9, `placebo_all38.csv` and `reference.json` of the data set sc_prop99 (Abadie, Diamond and
Hainmueller 2010, JASA 105:493; Arkhangelsky et al. 2021, AER 111:4088). R leaves California out of the donors of
the placebos. P-values are ranks and must be equal. Ends are the estimate less and plus the largest placebo:
tolerance 1e-6 relative for DiD; 0.15 packs for synthetic control and 0.02 for synthetic DiD, the distance of R's
early-stopped weights from the optimum that the data set's README states.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.randomisation import PermutationOptions, permutation_inference
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_control, synthetic_did
from tests.shared_data import reference, shared

DESIGNS = {"did": difference_in_differences, "sc": synthetic_control, "sdid": synthetic_did}
TOLERANCE = {"did": 6e-5, "sc": 0.30, "sdid": 0.04}  # of an end: once for the estimate, once for the placebo


@pytest.fixture(scope="module")
def panel() -> Panel:
    rows = pd.read_csv(shared("sc_prop99") / "data.csv")
    rows["adopted"] = np.where(rows["state"] == "California", 1989.0, np.nan)
    return Panel.from_frame(rows, unit="state", period="year", outcome="cigsale", adoption="adopted")


@pytest.mark.parametrize("name", DESIGNS)
def test_placebo_p_value_and_interval_of_proposition_99(panel, name):
    placebos = pd.read_csv(shared("sc_prop99") / "placebo_all38.csv")[name].abs().to_numpy()
    effect = reference("sc_prop99")[f"{name}.tau"]
    options = PermutationOptions(statistic="effect", placebo_donors="untreated")
    found = permutation_inference(panel, DESIGNS[name], scale="mean_difference", level=0.95, options=options)
    assert found.p_value == pytest.approx((1 + (placebos >= abs(effect)).sum()) / 39)
    assert found.lower == pytest.approx(effect - placebos.max(), abs=TOLERANCE[name])
    assert found.upper == pytest.approx(effect + placebos.max(), abs=TOLERANCE[name])
    assert found.level == pytest.approx(38 / 39)
