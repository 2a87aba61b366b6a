"""The page in a browser: quiet console, no network, nothing wider than the window, text that can be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sana_wm.runs.run_directory import RunDirectory

#: Text against what lies behind it (WCAG 2, AA); the least size in px that text may be drawn at.
LEAST_CONTRAST, LEAST_TEXT_PX = 4.5, 9.0

OVERFLOW = """
(() => {
  const width = document.documentElement.clientWidth;
  const inChart = (node) => node.parentElement && node.parentElement.closest('svg');
  const wide = [...document.body.querySelectorAll('*')].filter((node) =>
    !inChart(node) && node.getClientRects().length && node.getBoundingClientRect().right > width + 0.5);
  return {page: document.documentElement.scrollWidth - width, wide: wide.map((node) => node.outerHTML.slice(0, 80))};
})()
"""

#: Every visible piece of text: its words, its size in px as drawn, its contrast with the page.
TEXT = """
(() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || [0, 0, 0]).map(Number);
  const light = (colour) => { const [r, g, b] = parse(colour).map((v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (; node; node = node.parentElement) { const c = getComputedStyle(node).backgroundColor;
    if (c && !/(, 0\\)|transparent)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.nodeValue.trim(), node = walker.currentNode.parentElement;
    if (!words || ['STYLE', 'VIDEO'].includes(node.tagName) || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), svg = node.closest('svg');
    const ink = light(svg ? style.fill : style.color), paper = light(behind(svg || node));
    const scale = svg ? node.getScreenCTM().a ** 2 + node.getScreenCTM().b ** 2 : 1;
    found.push({words: words.slice(0, 40), px: parseFloat(style.fontSize) * Math.sqrt(scale), in_chart: !!svg,
      contrast: (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)});
  }
  return found;
})()
"""

SHOWN_CHARTS = """
[...document.querySelectorAll('svg')].filter((svg) => svg.getClientRects().length)
  .map((svg) => svg.getBoundingClientRect().width)
"""
VIDEO_PLAYS = """
new Promise((done) => { const video = document.querySelector('video');
  const ready = () => done([video.videoWidth, video.videoHeight, video.error && video.error.message]);
  video.readyState > 0 ? ready() : (video.onloadedmetadata = ready, video.onerror = ready); })
"""


def _load_chromium() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any]:
    chromium = _load_chromium()
    if (executable := chromium.find_chromium()) is None:
        pytest.skip("no Chromium here: looked for " + ", ".join(chromium.NAMES))
    with chromium.browsing(executable, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_is_quiet_fits_and_can_be_read(
    browser: Any, made_page: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.open(made_page, width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((node) => node.open = true)")
    overflow = browser.evaluate(OVERFLOW)
    assert overflow == {"page": 0, "wide": []}
    text = browser.evaluate(TEXT)
    assert len(text) > 100
    assert [piece for piece in text if piece["contrast"] < LEAST_CONTRAST] == []
    assert [piece for piece in text if piece["px"] < LEAST_TEXT_PX] == []
    assert [piece["words"] for piece in text if piece["in_chart"] and "peak" in piece["words"]]
    charts = browser.evaluate(SHOWN_CHARTS)
    assert len(charts) == 4  # camera, memory, times, latents: each in the shape that fits
    assert all(300 < chart <= width for chart in charts)
    assert browser.evaluate(VIDEO_PLAYS) == [160, 96, None]
    browser.screenshot(tmp_path / "page.png")
    require_quiet(browser)


def require_quiet(browser: Any) -> None:
    assert browser.complaints == []
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1600, False)])
def test_a_comparison_fits_and_can_be_read(
    browser: Any, made_run: RunDirectory, tmp_path: Path, width: int, dark: bool
) -> None:
    command = [sys.executable, "-m", "sana_wm", "compare", str(made_run.path), str(made_run.path.with_name("earlier"))]
    subprocess.run([*command, "--out", str(tmp_path / "out")], check=True, capture_output=True)
    browser.open(tmp_path / "out" / "compare.html", width=width, dark=dark)
    assert browser.evaluate(OVERFLOW) == {"page": 0, "wide": []}
    text = browser.evaluate(TEXT)
    assert len(text) > 60
    assert [piece for piece in text if piece["contrast"] < LEAST_CONTRAST or piece["px"] < LEAST_TEXT_PX] == []
    assert browser.evaluate(VIDEO_PLAYS) == [324, 128, None]
    require_quiet(browser)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_of_the_demo_fits_can_be_read_and_moves(browser: Any, demo_page: Path, width: int, dark: bool) -> None:
    browser.open(demo_page, width=width, dark=dark)
    assert browser.evaluate(OVERFLOW) == {"page": 0, "wide": []}
    text = browser.evaluate(TEXT)
    assert len(text) > 60
    assert [piece for piece in text if piece["contrast"] < LEAST_CONTRAST or piece["px"] < LEAST_TEXT_PX] == []
    assert browser.evaluate(VIDEO_PLAYS) == [160, 96, None]
    assert browser.evaluate("document.querySelector('video').autoplay && document.querySelector('video').loop")
    require_quiet(browser)
