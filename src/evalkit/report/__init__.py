"""Released numbers to words, tables, figures and files. Nothing here can reach a person's row."""

from evalkit.report.render import render_report

__all__ = ["render_report"]
