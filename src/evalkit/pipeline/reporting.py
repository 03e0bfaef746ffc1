"""From a release to all that readers get: both reports in every form, and what goes with them."""

from __future__ import annotations

import json
from pathlib import Path

from evalkit.core.protocol import Protocol
from evalkit.disclose import Release, load_release
from evalkit.pipeline.plan import Plan, Report, notebook_path
from evalkit.pipeline.progress import Progress
from evalkit.pipeline.run import Job, run_jobs
from evalkit.pipeline.seal import write_seal
from evalkit.pipeline.staging import Staging
from evalkit.report import render_report
from evalkit.report.blocks import ReportBlock
from evalkit.report.comments import write_comment_form
from evalkit.report.explore import render_explore
from evalkit.report.model_card import CARD_FILE, render_model_card
from evalkit.report.variants import render_variants
from evalkit.review.record import Review

BLOCKS_FILE = "blocks.json"
EXPLORE_FILE = "peer_explore.html"


def write_reports(
    staging: Staging, *, plan: Plan, protocol: Protocol, notebooks: Path, reviews: Path | None, review: Review,
    n_jobs: int, progress: Progress,
) -> tuple[str, ...]:  # fmt: skip
    """Execute the report notebooks on the staged release, render them, and write what goes beside them.

    `review` is what the folder `reviews` holds; the notebooks read it themselves. Returns the names of the files beyond
    the forms that every report has.
    """
    parameters = {"release": str(staging.folder), "reviews": str(reviews or "")}
    jobs = [
        Job(notebook_path(notebooks, report.notebook), staging.executed(report.notebook), parameters)
        for report in plan.reports
    ]
    run_jobs(jobs, n_jobs=n_jobs, progress=progress, on_finished=lambda _: None)
    blocks: dict[str, tuple[ReportBlock, ...]] = {}
    written: list[str] = []
    for report in plan.reports:
        name = f"{report.stem}.html, .docx and .pdf"
        progress.started(name)
        title = f"{protocol.study.title}: {report.title}"
        executed, stem = staging.executed(report.notebook), staging.folder / report.stem
        blocks[report.stem] = render_report(executed, stem, title=title, version=review.number, review=review).blocks
        written += _beside(report, blocks[report.stem], staging, title=title)
        progress.finished(name)
    written += [_write_blocks(staging, blocks), *write_card(staging)]
    return (*written, write_seal(staging.folder, review=review))


def write_card(staging: Staging) -> tuple[str, ...]:
    """The card of the risk model, from the released numbers alone, where the protocol asks for a model; its name."""
    released = load_release(staging.folder)
    if released.protocol.risk_model is None:
        return ()
    (staging.folder / CARD_FILE).write_text(render_model_card(released), encoding="utf-8")
    return (CARD_FILE,)


def _beside(report: Report, blocks: tuple[ReportBlock, ...], staging: Staging, *, title: str) -> list[str]:
    """The form for comments; for peers also large print, plain text, Easy Read and the interactive page."""
    form = staging.folder / f"{report.stem}_comments.csv"
    write_comment_form(blocks, form)
    names = [form.name]
    if report.stem == "peer":
        released: Release = load_release(staging.folder)
        variants = render_variants(staging.executed(report.notebook), staging.folder, title=title)
        render_explore(released, staging.folder / EXPLORE_FILE, title=title)
        names += [*(path.name for path in variants), EXPLORE_FILE]
    return names


def _write_blocks(staging: Staging, blocks: dict[str, tuple[ReportBlock, ...]]) -> str:
    """Digests of every block, by which comments are placed and a later version knows what it changed."""
    content = {stem: {block.id: block.digest for block in found} for stem, found in blocks.items()}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (staging.folder / BLOCKS_FILE).write_text(text, encoding="utf-8")
    return BLOCKS_FILE
