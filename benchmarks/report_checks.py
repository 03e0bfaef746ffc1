"""The reports of four worlds under every check: accessibility, plain language, form, and attacks on the release.

    python benchmarks/report_checks.py

For the default world and for those of no effect, of harm and of too few people, the peer report is made from the kept
release and held to the checks of the tests: violations found by axe-core (WCAG 2.2 AA) at 320 and 768 pixels, on paper
and in forced colours; what the keyboard does not reach; sentences, reading age and words not wanted; the tags of the
PDFs; headings left alone; the Word files. Then the attacks on what is released, and how many counts they got back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RELEASES = {
    "default": ROOT / "reports" / "ipsa",
    "none": ROOT / "reports" / "worlds" / "none",
    "harm": ROOT / "reports" / "worlds" / "harm",
    "little": ROOT / "reports" / "worlds" / "little",
}
VIEWS = {
    "320 px": (320, "screen", "none"),
    "768 px": (768, "screen", "none"),
    "print": (768, "print", "none"),
    "forced colours": (768, "screen", "active"),
}


def make_reports(release: Path, folder: Path) -> nbformat.NotebookNode:
    """The peer report of a release in every form, in `folder`; the executed notebook."""
    from evalkit.disclose import load_release
    from evalkit.report.explore import render_explore
    from evalkit.report.render import render_report
    from evalkit.report.variants import render_variants
    from tests.report_run import run_report

    executed = run_report(release, pictures="drawn")
    nbformat.write(executed, folder / "executed.ipynb")
    render_report(folder / "executed.ipynb", folder / "peer", title="Peer report")
    render_variants(folder / "executed.ipynb", folder, title="Peer report")
    render_explore(load_release(release), folder / "peer_explore.html", title="Peer report")
    return executed


def check_page(browser: Any, page_file: Path) -> dict[str, list[str]]:
    """What is wrong with a page, by view."""
    from tests.page_checks import find_overflow, find_unreached, find_violations

    page = browser.new_page()
    found: dict[str, list[str]] = {}
    for name, (width, media, colours) in VIEWS.items():
        page.emulate_media(media=media, forced_colors=colours, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(page_file.as_uri())
        found[f"axe, {name}"] = find_violations(page)
        if width == 320:
            found["scrolls sideways"] = find_overflow(page)
        if name == "768 px":
            found["not reached by keyboard"] = find_unreached(page)
    page.close()
    return found


def check_world(browser: Any, release: Path, folder: Path) -> tuple[dict[str, list[str]], str]:
    """What is wrong with the reports of one world, and how plain their words are."""
    from tests.docx_checks import find_docx_faults
    from tests.pdf_checks import find_lone_headings, find_pdf_faults
    from tests.plain_language import measure_plain_language, read_report_text

    executed = make_reports(release, folder)
    found = check_page(browser, folder / "peer.html")
    for name in ("peer.pdf", "peer_large_print.pdf"):
        found[name] = find_pdf_faults(folder / name) + find_lone_headings(folder / name)
    for name in ("peer.docx", "peer_easy_read.docx"):
        found[name] = find_docx_faults(folder / name)
    for name in ("peer_easy_read.html", "peer_explore.html"):
        views = check_page(browser, folder / name)
        found[name] = [f"{view}: {fault}" for view, faults in views.items() for fault in faults]
    return found, measure_plain_language(read_report_text(executed.cells).whole).describe()


def print_world(name: str, found: Mapping[str, list[str]], plain: str) -> int:
    """Print the numbers of one world; how many faults there are."""
    print(f"\n{name}\n  words: {plain}")
    for check, faults in found.items():
        print(f"  {check:<26} {len(faults):>3}" + "".join(f"\n      {fault}" for fault in faults))
    return sum(map(len, found.values()))


def print_attacks() -> int:
    """Print the attacks on what is released; how many counts they got back."""
    from tests.disclosure.attack_table import attack_table, render_attacks

    table = attack_table(reports=(RELEASES["default"],))
    print(f"\nAttacks on what is released\n{render_attacks(table)}")
    return sum(attack.recovered for attack in table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="*", default=list(RELEASES), choices=list(RELEASES))
    chosen = parser.parse_args().worlds
    from tests.browser import open_browser

    faults = 0
    with open_browser() as browser:
        for name in chosen:
            with tempfile.TemporaryDirectory() as scratch:
                found, plain = check_world(browser, RELEASES[name], Path(scratch))
            faults += print_world(name, found, plain)
        academic = check_page(browser, RELEASES["default"] / "academic.html")
    faults += print_world("default, academic page", academic, "not measured: it is written for researchers")
    faults += print_attacks()
    print(f"\nFaults and recovered counts in all: {faults}")
    return int(faults > 0)


if __name__ == "__main__":
    raise SystemExit(main())
