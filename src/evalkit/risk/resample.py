"""Bootstrap draws of people: whoever is drawn brings all of their discharges."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.faults import refuse, rng_faults, whole_faults


def draw_person_counts(person: np.ndarray, *, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each discharge is in each bootstrap sample of people, (replicates, n) uint16.

    `person` (n,) are identifiers. As many people are drawn as there are, with replacement, so that the number of
    discharges differs between draws (Davison and Hinkley 1997, section 3.8). Fails with `ParameterError` where
    `person` is empty or missing for some, `replicates` is below 1, or there is no generator.
    """
    where = "draw_person_counts"
    faults = [*whole_faults(f"{where} replicates", replicates, least=1), *rng_faults(rng)]
    if np.ndim(person) != 1 or len(person) == 0 or pd.isna(np.asarray(person)).any():
        faults.append(Fault(f"{where} person", "is empty or missing for some", allowed="identifiers (n,)"))
    refuse(faults)
    codes, names = pd.factorize(np.asarray(person))
    counts = np.empty((replicates, len(codes)), dtype=np.uint16)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[codes]
    return counts
