"""All worlds of the cost truth run, by name."""

from __future__ import annotations

from cost_truth_people import build_cost_worlds

WORLDS = {world.name: world for world in (*build_cost_worlds(),)}
