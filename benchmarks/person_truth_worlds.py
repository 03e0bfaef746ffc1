"""All worlds of the person-level truth run, by name."""

from __future__ import annotations

from person_truth_events import build_event_worlds
from person_truth_pathways import build_pathway_worlds
from person_truth_people import build_people_worlds

WORLDS = {world.name: world for world in (*build_people_worlds(), *build_event_worlds(), *build_pathway_worlds())}
