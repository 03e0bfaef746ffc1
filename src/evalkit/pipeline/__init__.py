"""From tables to both reports: run the notebooks, pass the gate, render, and replace the old output in one step."""

from evalkit.pipeline.evaluation import evaluate
from evalkit.pipeline.plan import DEFAULT_PLAN, Plan, Report, Step

__all__ = ["DEFAULT_PLAN", "Plan", "Report", "Step", "evaluate"]
