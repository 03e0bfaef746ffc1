"""What a browser finds in a page: violations of WCAG 2.2 AA by axe-core, overflow, and what the keyboard reaches."""

from __future__ import annotations

import json
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_OPTIONS = {"runOnly": {"type": "tag", "values": _TAGS}, "resultTypes": ["violations"]}
# Whatever a reader can act on, and what scrolls by itself.
_STOPS = """
() => {
  const wanted = 'a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex="-1"])';
  const seen = [...document.querySelectorAll(wanted)].filter(e => !e.disabled && e.tabIndex >= 0 && e.checkVisibility(
    {visibilityProperty: true}));
  const scrolls = [...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1
    && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX));
  window.stops = [...new Set([...seen, ...scrolls])];
  const name = e => (e.id ? '#' + e.id : e.tagName.toLowerCase() + ' ' + (e.textContent || '').trim().slice(0, 40));
  return window.stops.map(name);
}
"""
_FOCUSED = """
() => {
  const e = document.activeElement;
  const drawn = e && e !== document.body && (getComputedStyle(e).outlineStyle !== 'none'
    || getComputedStyle(e).boxShadow !== 'none');
  return [window.stops.indexOf(e), e === document.body || e === document.documentElement, drawn];
}
"""


def find_violations(page: Page) -> list[str]:
    """`rule: what it asks for (first place of n)` for each rule of axe-core that the page breaks."""
    found: list[dict[str, Any]] = Axe().run(page, options=_OPTIONS).response["violations"]
    return [
        f"{v['id']}: {v['help']} ({json.dumps(v['nodes'][0]['target'])} of {len(v['nodes'])})"
        for v in found
    ]  # fmt: skip


def find_overflow(page: Page) -> list[str]:
    """What makes the page itself scroll sideways."""
    return page.evaluate(
        """() => {
          if (document.documentElement.scrollWidth <= window.innerWidth) return [];
          const held = e => { while ((e = e.parentElement) && e !== document.body)
            if (getComputedStyle(e).overflowX !== 'visible') return true; return false; };
          const wide = e => e.getBoundingClientRect().right > window.innerWidth + 1 && !held(e);
          return [...document.body.querySelectorAll('*')].filter(wide).slice(0, 5)
            .map(e => `${e.tagName} ${e.id || e.closest('[id]')?.id} ${e.className}`);
        }"""
    )


def find_unreached(page: Page) -> list[str]:
    """What Tab alone does not reach, and what it reaches without a visible mark."""
    names = page.evaluate(_STOPS)
    page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    reached, unmarked = set(), []
    for _ in range(2 * len(names) + 5):
        page.keyboard.press("Tab")
        place, outside, drawn = page.evaluate(_FOCUSED)
        if outside:
            break
        if place >= 0 and not drawn:
            unmarked.append(f"{names[place]} (no visible focus)")
        reached.add(place)
    return [name for place, name in enumerate(names) if place not in reached] + unmarked
