"""What synthetic controls cost in time, beside three peers; all in one run.

    python benchmarks/synthetic_control_speed.py [--peers-python PATH] [--no-nested-peer]

Ratios are what matters: all run on the same machine, one after the other, best of several. Peers that this
environment lacks are run by `--peers-python`, the Python of one that has them, on the same panel; what cannot be had is
said. The panel is that of Proposition 99 (39 states, 1970 to 2000) where it is beside the checkout, else a simulated
one of the same shape.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# One thread for all, so that ratios do not hang on the number of cores; set before numpy is loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("diff_diff", "pysyncon", "mlsynth")
TARGETS = {"diff_diff": 20.0, "pysyncon": 20.0, "mlsynth": 4.0}
FIRST, REPEATS = 19, 5


def read_panel() -> tuple[pd.DataFrame, str]:
    """Long table (unit, year, y, three predictors), with the treated unit named "treated", and where it is from."""
    path = ROOT.parent / "shared" / "reference" / "datasets" / "sc_prop99" / "data.csv"
    if path.is_file():
        frame = pd.read_csv(path).rename(columns={"state": "unit", "cigsale": "y"})
        frame["unit"] = frame["unit"].where(frame["unit"] != "California", "treated")
        return frame[["unit", "year", "y", "lnincome", "age15to24", "retprice"]], "Proposition 99"
    rng = np.random.default_rng(99)
    factors = np.cumsum(rng.normal(0, 3, (4, 31)), axis=1)
    values = 120 + rng.uniform(0, 1, (39, 4)) @ factors + rng.normal(0, 2, (39, 31)) + rng.normal(0, 15, (39, 1))
    names = ["treated", *(f"unit {i:02d}" for i in range(1, 39))]
    frame = pd.DataFrame(
        {"unit": np.repeat(names, 31), "year": np.tile(np.arange(1970, 2001), 39), "y": values.ravel()}
    )
    for name in ("lnincome", "age15to24", "retprice"):
        frame[name] = np.repeat(rng.normal(10, 1, 39), 31) + 0.01 * frame["y"] + rng.normal(0, 0.1, len(frame))
    return frame, "simulated, of the shape of Proposition 99"


def best_of(run: Callable[[], object], repeats: int = REPEATS) -> tuple[float, object]:
    seconds, result = [], None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def losses(values: np.ndarray, weights: np.ndarray) -> list[float]:
    """Mean squared gap before adoption of every untreated unit; values (38, T), weights (38, 38), 0 on the diagonal.

    Weights are first put on the simplex: a sum that misses 1 by rounding would buy a lower loss.
    """
    before, weights = values[:, :FIRST], np.maximum(weights, 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return ((before - weights @ before) ** 2).mean(axis=1).tolist()


# ---- ours ------------------------------------------------------------------------------------------


def time_ours(frame: pd.DataFrame) -> dict[str, object]:
    sys.path.insert(0, str(ROOT / "src"))
    from evalkit.cohort.panel import Panel
    from evalkit.estimators.area.synthetic_control import (
        SyntheticControlOptions,
        average_predictors,
        compute_paths,
        compute_placebo_paths,
    )

    years = np.sort(frame["year"].unique())
    adopted = frame.assign(adoption=np.where(frame["unit"] == "treated", float(years[FIRST]), np.nan))
    panel = Panel.from_frame(adopted, unit="unit", period="year", outcome="y", adoption="adoption")
    plain, paths = best_of(lambda: compute_placebo_paths(panel))
    windows = {name: (name, 1980, 1989) for name in ("lnincome", "age15to24", "retprice")}
    windows |= {f"y{year}": ("y", year, year + 1) for year in (1975, 1980, 1988)}
    predictors = average_predictors(frame, unit="unit", period="year", windows=windows)
    options = SyntheticControlOptions(predictors=predictors)
    nested, _ = best_of(lambda: compute_placebo_paths(panel, options=options), 1)
    donors = ~panel.treated
    return {
        "plain": plain,
        "losses": losses(panel.values[donors], paths.unit_weights[:, donors]),
        "nested": nested,
        "treated_loss": float(compute_paths(panel, options=options).pre_rmspe[0] ** 2),
    }


# ---- peers -----------------------------------------------------------------------------------------


def wide(frame: pd.DataFrame) -> np.ndarray:
    rest = frame[frame["unit"] != "treated"]
    return rest.pivot(index="unit", columns="year", values="y").sort_index().to_numpy()


def each_placebo(frame: pd.DataFrame, solve: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Weights (38, 38) from a solver of donors (T0, 37) and target (T0,)."""
    before = wide(frame)[:, :FIRST]
    out = np.zeros((len(before), len(before)))
    for i in range(len(before)):
        others = np.delete(np.arange(len(before)), i)
        out[i, others] = solve(before[others].T, before[i])
    return out


def placebos_by_diff_diff(frame: pd.DataFrame) -> np.ndarray:
    """One public fit after another, on outcomes of equal V: what a user calls, preparation of data included."""
    from diff_diff import SyntheticControl

    rest = frame[frame["unit"] != "treated"]
    names, years = sorted(rest["unit"].unique()), sorted(rest["year"].unique())
    out = np.zeros((len(names), len(names)))
    for i, name in enumerate(names):
        data = rest.assign(d=((rest["unit"] == name) & (rest["year"] >= years[FIRST])).astype(int))
        fit = SyntheticControl(v_method="custom", custom_v=np.ones(FIRST), standardize="none")
        found = fit.fit(data, outcome="y", unit="unit", time="year", treatment="d")
        for donor, weight in found.donor_weights.items():
            out[i, names.index(donor)] = weight
    return out


def placebos_by_pysyncon(frame: pd.DataFrame) -> np.ndarray:
    """Its weight optimiser alone, with its own settings and equal V: no cost of data preparation.

    Outcomes come to it centred and scaled, which changes no optimum; raw, it takes longer and stops far from it.
    """
    from pysyncon.base import VanillaOptimMixin

    def solve(donors: np.ndarray, target: np.ndarray) -> np.ndarray:
        centre, size = donors.mean(axis=1), donors.std()
        near, aim = (donors - centre[:, None]) / size, (target - centre) / size
        return VanillaOptimMixin.w_optimize(V_mat=np.identity(FIRST), X0=near, X1=aim)[0]

    return each_placebo(frame, solve)


def placebos_by_mlsynth(frame: pd.DataFrame) -> np.ndarray:
    """Its active-set solver alone: no cost of data preparation."""
    from mlsynth.utils.bilevel.ridge_augment import simplex_qp

    return each_placebo(frame, simplex_qp)


def nested_by_pysyncon(frame: pd.DataFrame) -> float:
    """One fit of the treated unit with predictors and optimised V; its loss before adoption."""
    from pysyncon import Dataprep, Synth

    years = sorted(frame["year"].unique())
    prepared = Dataprep(
        foo=frame,
        predictors=["lnincome", "age15to24", "retprice"],
        predictors_op="mean",
        time_predictors_prior=range(1980, 1989),
        special_predictors=[("y", [year], "mean") for year in (1975, 1980, 1988)],
        dependent="y",
        unit_variable="unit",
        time_variable="year",
        treatment_identifier="treated",
        controls_identifier=[u for u in frame["unit"].unique() if u != "treated"],
        time_optimize_ssr=years[:FIRST],
    )
    fit = Synth()
    fit.fit(prepared, optim_method="Nelder-Mead", optim_initial="equal")
    return float(fit.mspe())


def time_peer(frame: pd.DataFrame, peer: str) -> dict[str, object]:
    """Seconds and losses of one peer; `nested` stands for its one fit with optimised V."""
    if peer == "pysyncon_nested":
        seconds, loss = best_of(lambda: nested_by_pysyncon(frame), 1)
        return {"plain": seconds, "losses": [loss]}
    runs = {
        "diff_diff": placebos_by_diff_diff,
        "pysyncon": placebos_by_pysyncon,
        "mlsynth": placebos_by_mlsynth,
    }
    seconds, weights = best_of(lambda: runs[peer](frame), 3)
    return {"plain": seconds, "losses": losses(wide(frame), weights)}


def ask_peer(frame: pd.DataFrame, peer: str, python: str) -> dict[str, object] | str:
    """What the peer took, or why it could not be had."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "panel.csv"
        frame.to_csv(table, index=False)
        command = [python, str(Path(__file__).resolve()), "--only", peer, "--table", str(table)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"not run ({last})"
    return json.loads(lines[-1])


def report(frame: pd.DataFrame, pythons: dict[str, str], *, peers: tuple[str, ...]) -> None:
    ours = time_ours(frame)
    print(f"all 38 placebos, outcomes only: evalkit {ours['plain'] * 1e3:.1f} ms")
    for peer in (p for p in peers if p in TARGETS):
        found = ask_peer(frame, peer, pythons[peer])
        if isinstance(found, str):
            print(f"  {peer}: {found}")
            continue
        mine, theirs = np.array(ours["losses"]), np.array(found["losses"])
        no_worse = bool((mine <= theirs * (1 + 1e-9) + 1e-12).all())
        print(
            f"  {peer}: {found['plain'] * 1e3:.1f} ms, {found['plain'] / ours['plain']:.1f} times ours "
            f"(target {TARGETS[peer]:g}); loss {theirs.sum():.4f}, ours {mine.sum():.4f}, "
            f"{'nowhere higher' if no_worse else 'somewhere HIGHER'}"
        )
    print(f"all 38 placebos with 6 predictors and optimised V: evalkit {ours['nested']:.1f} s")
    if "pysyncon_nested" in peers:
        found = ask_peer(frame, "pysyncon_nested", pythons["pysyncon_nested"])
        if isinstance(found, str):
            print(f"  pysyncon: {found}")
            return
        print(
            f"  pysyncon, one fit: {found['plain']:.1f} s, {found['plain'] / ours['nested']:.1f} times all of ours "
            f"(target 1); loss of the treated {found['losses'][0]:.4f}, ours {ours['treated_loss']:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=sys.executable, help="Python that has pysyncon and mlsynth")
    parser.add_argument("--no-nested-peer", action="store_true", help="leave out pysyncon's fit of a minute or so")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(time_peer(pd.read_csv(given.table), given.only)))
        return
    frame, source = read_panel()
    print(f"panel: {source}, {frame['unit'].nunique()} units x {frame['year'].nunique()} periods, {FIRST} before")
    peers = (*PEERS, *(() if given.no_nested_peer else ("pysyncon_nested",)))
    # diff-diff is a dependency of evalkit, so that its own environment serves.
    pythons = {peer: sys.executable if peer == "diff_diff" else given.peers_python for peer in peers}
    report(frame, pythons, peers=peers)


if __name__ == "__main__":
    main()
