"""Released numbers to words, tables, figures and files. Nothing here can reach a person's row."""

from evalkit.report.blocks import ReportBlock
from evalkit.report.comments import write_comment_form
from evalkit.report.render import Rendered, render_report

__all__ = ["Rendered", "ReportBlock", "render_report", "write_comment_form"]
