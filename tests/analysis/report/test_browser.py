"""The report in a real browser: at a desk and on a telephone, by day and by night."""

import struct

import pyarrow.parquet as pq
import pytest

from analysis.report import build
from analysis.report.report import write_report
from tests.support.browser import CHROMIUM, chromium
from tests.support.reported import ODD
from tests.support.synthetic import make_run, make_setting

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}: apt-get install chromium"
)

OFF_THE_PAGE = """[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  const inside = e.closest('.scroll, .roll, svg');
  return box.width && box.right > innerWidth + 1 && (!inside || inside === e);
}).map(e => e.tagName + '.' + e.className).slice(0, 5)"""

CUT_TEXT = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const page = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => {
    const box = t.getBoundingClientRect();
    return box.width && (box.left < page.left - 2 || box.right > page.right + 2);
  }).map(t => t.textContent);
})"""

CONTRAST = """(() => {
  const light = c => {
    const parts = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return Math.min(...['p', 'h2', 'td', 'nav a', '.quiet', 'pre'].map(name => {
    const ink = light(getComputedStyle(document.querySelector(name)).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }));
})()"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


SHOWN = (
    "[...document.querySelectorAll('figure svg')]"
    ".filter(s => s.checkVisibility()).length"
)

TEXT_HEIGHTS = (
    "[...document.querySelectorAll('figure svg text')]"
    ".map(t => t.getBoundingClientRect().height).filter(h => h)"
)


def check_page(browser):
    """Check what holds at every width: nothing is off the page, cut or pale."""
    assert browser.complaints() == []
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask(OFF_THE_PAGE) == []
    assert browser.ask(CUT_TEXT) == []
    assert browser.ask(CONTRAST) > 4.5
    assert browser.ask("document.querySelectorAll('script').length") == 0
    figures = browser.ask("document.querySelectorAll('figure').length")
    assert figures >= 6
    assert browser.ask(SHOWN) == figures  # of its two drawings, one for this width


def test_at_a_desk_it_is_clean_and_can_be_shot_and_printed(
    browser, report_page, tmp_path
):
    browser.open(report_page.as_uri(), 1280)
    check_page(browser)
    browser.shoot(tmp_path / "page.png")
    width, height = struct.unpack(">II", (tmp_path / "page.png").read_bytes()[16:24])
    assert 1200 < width <= 1280
    assert height > 3000
    browser.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_on_a_telephone_by_night_it_is_clean_and_text_is_large_enough(
    browser, report_page
):
    browser.open(report_page.as_uri(), 390, dark=True)
    check_page(browser)
    heights = browser.ask(TEXT_HEIGHTS)
    assert sorted(heights)[len(heights) // 20] > 7


def test_markup_in_a_name_is_nothing_but_text(browser, tmp_path, monkeypatch):
    few = {key: build.PARTS[key] for key in ("about", "table", "lost")}
    monkeypatch.setattr(build, "PARTS", few)
    folder = tmp_path / "odd" / "records"
    folder.mkdir(parents=True)
    pq.write_table(make_run(make_setting(tasks=3), 0, ODD), folder / "x.parquet")
    write_report(str(tmp_path), str(tmp_path / "odd.html"))
    browser.open((tmp_path / "odd.html").as_uri(), 390)
    assert browser.complaints() == []
    assert browser.ask("document.querySelectorAll('script').length") == 0
    assert browser.ask("document.body.innerText.includes('<script>alert')")
    assert browser.ask(OFF_THE_PAGE) == []


def test_a_script_in_it_would_be_seen(browser, report_page, tmp_path):
    text = report_page.read_text("utf-8")
    bad = tmp_path / "bad.html"
    wide = "<script>console.error('odd'); nothere()</script><p style='width:2000px'>x"
    bad.write_text(text.replace("</main>", f"{wide}</main>", 1))
    browser.open(bad.as_uri(), 390)
    assert len(browser.complaints()) >= 2
    assert browser.ask(OFF_THE_PAGE) != []
