"""All worlds of the cost truth run, by name."""

from __future__ import annotations

from cost_truth_censored import build_censored_worlds
from cost_truth_people import build_cost_worlds
from cost_truth_value import build_value_worlds

WORLDS = {world.name: world for world in (*build_cost_worlds(), *build_censored_worlds(), *build_value_worlds())}
