"""Simulated worlds whose truth is known: every person lives once with and once without the alliance."""

from evalkit.simulate.settings import WorldSettings, load_settings
from evalkit.simulate.world import World, simulate_world, write_world

__all__ = ["World", "WorldSettings", "load_settings", "simulate_world", "write_world"]
