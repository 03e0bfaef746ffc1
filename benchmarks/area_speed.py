"""Every speed that the area designs promise, beside the peers, in one run.

    python benchmarks/area_speed.py [--peers-python PATH] [--quick]

`--peers-python` is the interpreter of an environment with `benchmarks/peers.txt`. `--quick` leaves out what takes peers
minutes. Ratios are what matters: all sides run on the same machine, one after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="interpreter of an environment that has the peers")
    parser.add_argument("--quick", action="store_true", help="leave out what takes peers minutes")
    given = parser.parse_args()
    peers = ["--peers-python", given.peers_python] if given.peers_python else []
    runs = [
        ("synthetic_control_speed.py", peers + (["--no-nested-peer"] if given.quick else [])),
        ("staggered_speed.py", peers),
        ("permutation_speed.py", []),
        ("honest_speed.py", [] if given.quick else peers),
    ]
    single = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name, arguments in runs:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, str(FOLDER / name), *arguments], check=True, env=single)


if __name__ == "__main__":
    main()
