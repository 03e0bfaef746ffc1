"""Bounds under relative magnitudes beside two Python packages, on the Medicaid event study; all in one run.

    python benchmarks/honest_speed.py [--peers-python PATH] [--m 0 0.5 1 1.5 2]

`--peers-python` is the interpreter of an environment that has `honestdid` and `moderndid`; without it, or where one
cannot be imported, that is said and the rest is shown. Peers take a minute or more each. Ratios are what matters.

Both packages draw 1,000 times for the least-favourable critical value and accept or reject on a grid of 1,000 values;
here the value is exact and the ends are refined, so that agreement is to a few grid steps. `honestdid` 0.1.1 calls
float() on 1 x 1 arrays, which NumPy refuses since 2.4; those calls are replaced by .item() as it is read. `moderndid`
0.2.0 leaves out the step from the last period before adoption to the reference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from evalkit.estimators.area.honest import HonestOptions, compute_honest_bounds

DATA = Path(__file__).resolve().parents[2] / "shared" / "reference" / "datasets" / "did_medicaid"
SAMPLES = ("exercise2", "readme")
N_BEFORE = 5
GRID = 1000
WANTED = 30

_READ = """
import importlib.util, json, sys, time, types, warnings
import numpy as np
warnings.simplefilter("ignore")
given = json.load(sys.stdin)
value, covariance, m = np.array(given["value"]), np.array(given["covariance"]), given["m"]
first = np.eye(len(value) - given["n_before"])[0]
"""
_PEERS = {
    "honestdid": """
place = importlib.util.find_spec("honestdid.core").origin
text = open(place).read().replace(" float(", " _scalar(").replace("(float(", "(_scalar(")
core = types.ModuleType("core")
core._scalar = lambda x: float(np.asarray(x).item())
exec(compile(text, place, "exec"), core.__dict__)
begin = time.perf_counter()
table = core.createSensitivityResults_relativeMagnitudes(
    value, covariance, given["n_before"], len(first), Mbarvec=m, l_vec=first, gridPoints=given["grid"])
seconds = time.perf_counter() - begin
print(json.dumps([seconds, table["lb"].tolist(), table["ub"].tolist()]))
""",
    "moderndid": """
from moderndid.didhonest.sensitivity import create_sensitivity_results_rm
begin = time.perf_counter()
table = create_sensitivity_results_rm(
    betahat=value, sigma=covariance, num_pre_periods=given["n_before"], num_post_periods=len(first), m_bar_vec=m,
    l_vec=first.reshape(-1, 1), method="C-LF", grid_points=given["grid"])
seconds = time.perf_counter() - begin
print(json.dumps([seconds, table["lb"].to_list(), table["ub"].to_list()]))
""",
}


def read_sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Effects (7,) and their covariance (7, 7), five before adoption."""
    path = DATA / f"honest_betahat_sigma_{name}.csv"
    table = np.genfromtxt(path, delimiter=",", skip_header=1, converters={0: lambda year: float(year.strip('"'))})
    return table[:, 1], table[:, 2:]


def run_ours(value: np.ndarray, covariance: np.ndarray, m: tuple[float, ...]) -> tuple[float, np.ndarray, np.ndarray]:
    """Best of five, in seconds, with the breakdown value that the peers do not give; and the ends."""
    options = HonestOptions(restriction="relative_magnitude", m=m, target="first", grid_points=GRID)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        curve = compute_honest_bounds(value, covariance, n_before=N_BEFORE, options=options)
        seconds.append(time.perf_counter() - begin)
    return min(seconds), curve.lower, curve.upper


def run_peer(
    python: str, name: str, value: np.ndarray, covariance: np.ndarray, m: tuple[float, ...]
) -> tuple[float, np.ndarray, np.ndarray] | str:
    """One run, timed inside the subprocess after the import; or the last line of what went wrong."""
    given = {"value": value.tolist(), "covariance": covariance.tolist(), "m": m, "n_before": N_BEFORE, "grid": GRID}
    try:
        done = subprocess.run(
            [python, "-c", _READ + _PEERS[name]],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"the interpreter could not be started ({error.strerror})"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    seconds, lower, upper = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, np.array(lower), np.array(upper)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="interpreter of an environment that has the peers")
    parser.add_argument("--m", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0])
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("The data set did_medicaid is not beside this checkout (../shared/reference/datasets).")
    m = tuple(arguments.m)
    for sample in SAMPLES:
        value, covariance = read_sample(sample)
        step = 40 * np.sqrt(covariance[N_BEFORE, N_BEFORE]) / (GRID - 1)
        seconds, lower, upper = run_ours(value, covariance, m)
        print(f"\n{sample}: relative magnitudes (C-LF), {len(m)} values of m; one grid step is {step:.1e}")
        print(f"  evalkit    {seconds:9.4f} s")
        rows = {"evalkit": (lower, upper)}
        for name in _PEERS:
            if arguments.peers_python is None:
                print(f"  {name:10s} not run: --peers-python was not given")
                continue
            peer = run_peer(arguments.peers_python, name, value, covariance, m)
            if isinstance(peer, str):
                print(f"  {name:10s} not run: {peer}")
                continue
            ratio = peer[0] / seconds
            verdict = "met" if ratio >= WANTED else "NOT met"
            furthest = max(np.abs(peer[1] - lower).max(), np.abs(peer[2] - upper).max())
            print(
                f"  {name:10s} {peer[0]:9.2f} s, {ratio:7.0f} times as long (at least {WANTED}: {verdict}); "
                f"ends differ by at most {furthest:.1e}"
            )
            rows[name] = peer[1:]
        for place, bound in enumerate(m):
            ends = "   ".join(f"{name} [{low[place]:+.5f}, {high[place]:+.5f}]" for name, (low, high) in rows.items())
            print(f"    m = {bound:<4g} {ends}")


if __name__ == "__main__":
    main()
