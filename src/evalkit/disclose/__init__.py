"""The gate between people's data and everything that is printed."""

from evalkit.disclose.policy import Policy, policy
from evalkit.disclose.release import Release, load_release, release

__all__ = ["Policy", "Release", "load_release", "policy", "release"]
