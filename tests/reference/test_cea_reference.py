"""Value for money against R on published data: BCEA's Vaccine, dampack's tables, a Markov model of HIV therapy.

Sources: reference.json of cea_bcea_vaccine, cea_icer_tables and cea_markov_hiv (R, up to 15 digits; the formulas are
those of BCEA, dampack 1.0 and heemod 1.0.2), tolerance 1e-6, relative; documented.json, to the digits published.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from evalkit.economics.draws import Psa
from evalkit.economics.evppi import compute_evppi
from evalkit.economics.frontier import compute_icers
from evalkit.economics.markov import (
    MarkovOptions,
    build_markov,
    compute_cycle_values,
    compute_total,
    scale_transitions,
)
from evalkit.economics.net_benefit import (
    compute_acceptability,
    compute_break_even,
    compute_incremental_benefit,
    compute_plane,
)
from tests.shared_data import reference, shared

ARMS = {"target": "vaccination", "reference": "status_quo"}
GRID = np.arange(0, 50_001, 100)


def find_vaccine() -> dict[str, float]:
    frame = pd.read_csv(shared("cea_bcea_vaccine") / "data.csv")
    psa = Psa.from_frame(frame, ("status_quo", "vaccination"), effect_unit="QALY")
    plane = compute_plane(psa, **ARMS)
    grid = compute_acceptability(psa, GRID)
    benefit = compute_incremental_benefit(psa, GRID, **ARMS)
    found: dict[str, float] = {
        "n_sim": psa.n_draws,
        "mean_delta_e": plane.mean_effect,
        "mean_delta_c": plane.mean_cost_gbp,
        "icer": plane.icer.value,
        "quadrant.SW": plane.share_sw,
        "quadrant.SE": plane.share_se,
        "quadrant.NE": plane.share_ne,
        "quadrant.NW": plane.share_nw,
        "kstar_grid100": GRID[np.flatnonzero(np.diff(grid.optimal))[0] + 1],
        "kstar_exact": compute_break_even(psa)["threshold_gbp"].item(),
        "evpi.max_over_grid": grid.evpi_gbp.max(),
        "evpi.argmax_k": GRID[grid.evpi_gbp.argmax()],
        "sd_delta_e": plane.sd_effect,
        "sd_delta_c": plane.sd_cost_gbp,
        "cor_delta": plane.correlation,
        "delta_c.q025": plane.cost_interval_gbp[0],
        "delta_c.q975": plane.cost_interval_gbp[1],
        "delta_e.q025": plane.effect_interval[0],
        "delta_e.q975": plane.effect_interval[1],
    }
    for k in (0, 10_000, 20_000, 25_000, 30_000, 40_000, 50_000):
        row = k // 100
        found |= {
            f"k{k}.eib": benefit.value[row],
            f"k{k}.ceac": grid.probability[row, 1],
            f"k{k}.expected_nb.status_quo": grid.expected_net_benefit_gbp[row, 0],
            f"k{k}.expected_nb.vaccination": grid.expected_net_benefit_gbp[row, 1],
            f"k{k}.evpi": grid.evpi_gbp[row],
        }
    return found


def icers_of(key: str, names: list[str], costs: np.ndarray, effects: np.ndarray) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for row in compute_icers(names, costs, effects).itertuples():
        found[f"{key}.{row.strategy}.status"] = row.status
        if np.isfinite(row.icer):
            found[f"{key}.{row.strategy}.icer"] = row.icer
    return found


def find_tables() -> dict[str, float | str]:
    folder = shared("cea_icer_tables")
    paltiel, herc = (pd.read_csv(folder / name) for name in ("paltiel_hiv.csv", "va_herc_example.csv"))
    found = icers_of("paltiel", list(paltiel["strategy"]), paltiel["cost"], paltiel["qaly"])
    found |= icers_of("va_herc", list(herc["strategy"]), herc["cost"], herc["effect"])
    # Costs and effects of dampack's tests/testthat/test_calculate_icers.R, "default reference strategy".
    names = ["No Treat", "Treat all", "Test & treat"]
    costs, effects = np.array([163771.0, 164848.7, 163765.1]), np.array([6.48273, 6.52861, 6.52861])
    found |= icers_of("test_and_treat", names, costs, effects)
    psa = Psa.from_frame(
        pd.read_csv(folder / "example_psa.csv"), ("Chemo", "Radio", "Surgery"), effect_unit="QALY"
    )  # fmt: skip
    costs, effects = psa.costs_gbp.mean(axis=0), psa.effects.mean(axis=0)
    found |= icers_of("example_psa", list(psa.strategies), costs, effects)
    grid = compute_acceptability(psa, [50_000, 100_000])
    for j, name in enumerate(psa.strategies):
        found |= {f"example_psa.mean_cost.{name}": costs[j], f"example_psa.mean_eff.{name}": effects[j]}
        for row, k in enumerate((50_000, 100_000)):
            found[f"example_psa.k{k}.ceac.{name}"] = grid.probability[row, j]
            found[f"example_psa.k{k}.expected_loss.{name}"] = grid.expected_loss_gbp[row, j]
    for row, k in enumerate((50_000, 100_000)):
        found[f"example_psa.k{k}.evpi"] = grid.evpi_gbp[row]
        found[f"example_psa.k{k}.optimal"] = psa.strategies[grid.optimal[row]]
    return found


STATES = ("A", "B", "C", "dead")
STATE_COST = np.array([2756.0, 3052.0, 9007.0, 0.0])
ALIVE = np.array([1.0, 1.0, 1.0, 0.0])


def find_markov() -> dict[str, float]:
    """Counts of Briggs, Claxton and Sculpher 2006, exercise 2.5, and the rounded chances of heemod's vignette."""
    shared("cea_markov_hiv")
    counts = np.array([[1251, 350, 116, 17], [0, 731, 512, 15], [0, 0, 1312, 437], [0, 0, 0, 1]], dtype=float)
    chances = counts / counts.sum(axis=1, keepdims=True)
    years = np.arange(20)[:, None]
    options = MarkovOptions(counting="end", discount_rate=0.06, discount_from="first_cycle")
    both = np.where(years[:, :, None] < 2, scale_transitions(chances, 0.509), chances)
    drug = {"mono": 2278 * ALIVE, "comb": ALIVE * np.where(years < 2, 2278 + 2086.5, 2278)}
    models = {
        "mono": build_markov(STATES, chances, [1, 0, 0, 0], n_cycles=20),
        "comb": build_markov(STATES, both, [1, 0, 0, 0]),
    }
    found = {}
    undiscounted = MarkovOptions(counting="end", discount_rate=0)
    for arm, model in models.items():
        found |= {
            f"dmhee.{arm}.H": compute_total(model, STATE_COST, options=undiscounted),
            f"dmhee.{arm}.D": compute_total(model, drug[arm], options=undiscounted),
            f"dmhee.{arm}.T": compute_total(model, STATE_COST + drug[arm], options=options),
            f"dmhee.{arm}.LY": compute_total(model, ALIVE, options=undiscounted),
        }
    found["dmhee.delta_cost"] = found["dmhee.comb.T"] - found["dmhee.mono.T"]
    found["dmhee.delta_ly"] = found["dmhee.comb.LY"] - found["dmhee.mono.LY"]
    found["dmhee.icer"] = found["dmhee.delta_cost"] / found["dmhee.delta_ly"]
    return found | find_vignette()


def find_vignette() -> dict[str, float]:
    chances = np.array([[0.721, 0.202, 0.067, 0.010], [0, 0.581, 0.407, 0.012], [0, 0, 0.75, 0.25], [0, 0, 0, 1]])
    options = MarkovOptions(counting="half_cycle", discount_rate=0.06, discount_from="second_cycle")
    undiscounted = MarkovOptions(counting="half_cycle", discount_rate=0)
    found = {}
    for arm, matrix, drug in (("mono", chances, 2278), ("comb", scale_transitions(chances, 0.509), 2278 + 2086)):
        model = build_markov(STATES, matrix, [1000, 0, 0, 0], n_cycles=50)
        health = compute_cycle_values(model, STATE_COST, options=options).sum()
        drugs = compute_cycle_values(model, drug * ALIVE, options=options).sum()
        found |= {
            f"heemod_vignette.{arm}.H": health,
            f"heemod_vignette.{arm}.D": drugs,
            f"heemod_vignette.{arm}.T": health + drugs,
            f"heemod_vignette.{arm}.LY": compute_total(model, ALIVE, options=undiscounted),
        }
    cost = found["heemod_vignette.comb.T"] - found["heemod_vignette.mono.T"]
    found["heemod_vignette.icer"] = cost / (found["heemod_vignette.comb.LY"] - found["heemod_vignette.mono.LY"])
    return found


FINDERS: dict[str, Callable[[], dict]] = {
    "cea_bcea_vaccine": find_vaccine,
    "cea_icer_tables": find_tables,
    "cea_markov_hiv": find_markov,
}
KEYS = [(name, key) for name in FINDERS for key in reference(name)]


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    return {name: find() for name, find in FINDERS.items()}


@pytest.mark.parametrize(("name", "key"), KEYS, ids=[f"{name}:{key}" for name, key in KEYS])
def test_equal_to_r(name: str, key: str, found: dict[str, dict]) -> None:
    expected = reference(name)[key]
    if isinstance(expected, str):
        assert found[name][key] == expected
    else:
        assert found[name][key] == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("name", FINDERS)
def test_equal_to_what_is_published(name: str, found: dict[str, dict]) -> None:
    rows = json.loads((shared(name) / "documented.json").read_text())
    assert rows
    for row in rows:
        ours = found[name][row["estimand"]]
        if row["digits"] is None:
            assert ours == row["published"], row["estimand"]
        else:
            assert round(float(ours), row["digits"]) == row["published"], row["estimand"]


def test_dampack_gives_no_other_ratio(found: dict[str, dict]) -> None:
    """A ratio stands where R has one and nowhere else."""
    ratios = {key for key in found["cea_icer_tables"] if key.endswith(".icer")}
    assert ratios == {key for key in reference("cea_icer_tables") if key.endswith(".icer")}


@pytest.mark.parametrize("name", ["hund_strat.csv", "psa_cdiff.csv"])
def test_frontier_is_that_of_brute_force(name: str) -> None:
    """On the frontier is what is best at some threshold: net benefit over a fine grid, without any hull."""
    names, costs, effects = read_points(name)
    table = compute_icers(names, costs, effects)
    kept = table[table["status"] == "ND"]
    ratios = kept["icer"].to_numpy()[1:]
    assert (np.diff(ratios) > 0).all()
    between = np.concatenate([[0.0], ratios]) + np.diff(np.concatenate([[0.0], ratios, [2 * ratios[-1]]])) / 2
    best = (between[:, None] * effects - costs).argmax(axis=1)
    assert [names[j] for j in best] == list(kept["strategy"])
    grid = np.geomspace(1e-3, 1e9, 20_001)
    everywhere = {names[j] for j in (grid[:, None] * effects - costs).argmax(axis=1)}
    assert everywhere <= set(kept["strategy"])
    assert len(everywhere) >= len(kept) - 2  # narrow stretches may fall between points of the grid


@pytest.mark.parametrize("name", ["hund_strat.csv", "psa_cdiff.csv"])
def test_dominance_is_that_of_brute_force(name: str) -> None:
    """Pairs for strong dominance, triples for extended dominance."""
    names, costs, effects = read_points(name)
    table = compute_icers(names, costs, effects).set_index("strategy").loc[names]
    n = len(names)
    strongly = np.array(
        [any(costs[i] <= costs[j] and effects[i] >= effects[j] for i in range(n) if i != j) for j in range(n)]
    )
    assert ((table["status"] == "D").to_numpy() == strongly).all()
    for j in np.flatnonzero(~strongly):
        low, high = np.flatnonzero(effects < effects[j]), np.flatnonzero(effects > effects[j])
        share = (effects[j] - effects[low][:, None]) / (effects[high] - effects[low][:, None])
        mixed = costs[low][:, None] * (1 - share) + costs[high] * share
        assert (table["status"].iloc[j] == "ED") == bool((mixed < costs[j]).any())


def read_points(name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    frame = pd.read_csv(shared("cea_icer_tables") / name)
    if name.startswith("hund"):
        return [str(v) for v in frame["Strategy"]], frame["Cost"].to_numpy(), frame["QALYs"].to_numpy()
    names = [c.removeprefix("cost_") for c in frame if c.startswith("cost_")]
    psa = Psa.from_frame(frame, names, effect_unit="QALY")
    return names, psa.costs_gbp.mean(axis=0), psa.effects.mean(axis=0)


def compute_block_evppi(benefit: np.ndarray, parameter: np.ndarray, blocks: int) -> float:
    """EVPPI of one parameter with no regression: the best in each block of draws that are alike in it."""
    order = np.argsort(parameter, kind="stable")
    means = [rows.mean(axis=0) for rows in np.array_split(benefit[order], blocks)]
    return float(np.max(means, axis=1).mean() - benefit.mean(axis=0).max())


def read_vaccine_model() -> Psa:
    """QALYs lost made anew from the 1,000 posterior draws of the 77 parameters, and a fixed cost of vaccination.

    The rows of parameters.csv are not those behind data.csv: of 63 parameters that vary, none correlates with any cost
    or effect by more than chance gives (0.09). QALYs lost are days of illness, of pneumonia, in hospital and of adverse
    events, and years lost by death, per person of 100,000: a test holds their mean and spread to those of data.csv.
    """
    p = pd.read_csv(shared("cea_bcea_vaccine") / "parameters.csv").rename(columns=lambda c: c.rstrip("."))
    lost = []
    for arm in (1, 2):
        cases = {
            name: p[f"{name}.{arm}.1"] + p[f"{name}.{arm}.2"] for name in ("Infected", "Pneumonia", "Hospital", "Death")
        }
        days = p["q.1"] * cases["Infected"] + p["q.4"] * cases["Pneumonia"] + p["q.5"] * cases["Hospital"]
        if arm == 2:
            days += p["q.7"] * p["Adverse.events"]
        lost.append((days / 365 + p["q.6"] * cases["Death"]) / 100_000)
    gain = (lost[0] - lost[1]).to_numpy()
    p["gain"] = gain
    return Psa.from_differences(np.full(len(gain), 5.036), gain, effect_unit="QALY", parameters=p.drop(columns="sim"))


def test_the_model_made_anew_is_that_of_the_data() -> None:
    psa = read_vaccine_model()
    frame = pd.read_csv(shared("cea_bcea_vaccine") / "data.csv")
    gain = frame["eff_vaccination"] - frame["eff_status_quo"]
    assert psa.effects[:, 1].mean() == pytest.approx(gain.mean(), rel=0.05)
    assert psa.effects[:, 1].std() == pytest.approx(gain.std(), rel=0.05)


@pytest.mark.parametrize("name", ["q.1", "Infected.1.1", "Infected.2.1", "Death.1.1", "q.6", "gain"])
def test_evppi_of_one_parameter_is_that_of_blocks(name: str) -> None:
    """Strong and Oakley 2013, Med Decis Making 33:755: no smoothness is assumed. No published value is known."""
    psa = read_vaccine_model()
    benefit = 25_000 * psa.effects - psa.costs_gbp
    found = compute_evppi(psa, [name], 25_000, rng=np.random.default_rng(1))
    blocks = compute_block_evppi(benefit, psa.parameters[name].to_numpy(), 20)
    assert found.value_gbp == pytest.approx(blocks, abs=0.1 * found.evpi_gbp)
    assert found.value_gbp <= found.evpi_gbp + 1e-9


def test_evppi_of_what_decides_is_evpi() -> None:
    psa = read_vaccine_model()
    decides = [
        "q.1",
        "Infected.1.1",
        "Infected.2.1",
        "Infected.2.2",
        "Death.1.1",
        "Death.2.1",
        "Death.2.2",
        "q.6",
        "Adverse.events",
    ]
    found = compute_evppi(psa, decides, 25_000, rng=np.random.default_rng(1))
    assert found.value_gbp == pytest.approx(found.evpi_gbp, rel=0.1)
    assert compute_evppi(psa, ["gain"], 25_000, rng=np.random.default_rng(1)).share_of_evpi == pytest.approx(
        1, rel=1e-3
    )


def test_parameters_of_other_draws_are_worth_nothing() -> None:
    """The pair of files as they are: rows of one are not rows of the other, and all 77 together explain nothing."""
    folder = shared("cea_bcea_vaccine")
    parameters = pd.read_csv(folder / "parameters.csv").drop(columns="sim")
    frame = pd.read_csv(folder / "data.csv")
    psa = Psa.from_frame(frame, ("status_quo", "vaccination"), effect_unit="QALY", parameters=parameters)
    varies = parameters.columns[parameters.std() > 0]
    for name in varies:
        one = compute_evppi(psa, [name], 25_000, rng=np.random.default_rng(1))
        assert one.value_gbp <= 0.01 * one.evpi_gbp, name
    every = compute_evppi(psa, list(parameters.columns), 25_000, rng=np.random.default_rng(1))
    assert every.value_gbp <= every.bias_gbp + 2 * every.se_gbp
    assert every.checks[0].passed is False  # some of the 77 do not vary
