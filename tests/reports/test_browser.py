"""The pages in a real browser: width, colours, contrast, print, keyboard."""

import base64
import re
import zlib
from pathlib import Path

import pytest

from grader.reports.html import student_page
from grader.reports.page import lab_page
from tests.reports.samples import HINTS, SAMPLES, all_passed
from tests.reports.test_page import PAGE

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")

# Text and the colour below it, as the browser computes them; layers with alpha are blended.
CONTRAST = r"""
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const rgba = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255];
};
const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
  return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = e => { const chain = [];
  for (; e; e = e.parentElement) chain.push(rgba(getComputedStyle(e).backgroundColor));
  return chain.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]); };
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, e = node.parentElement;
  if (!node.data.trim() || e.closest('title, desc, style') || !e.checkVisibility()) continue;
  const style = getComputedStyle(e);
  const ink = rgba(e.closest('svg') ? style.fill : style.color);
  for (let p = e; p; p = p.parentElement) ink[3] *= +getComputedStyle(p).opacity;
  const below = ground(e), shown = over(ink, below);
  const [a, b] = [light(shown), light(below)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.push([node.data.trim().slice(0, 40), ratio.toFixed(2), style.color]);
}
return found;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, templates):
    folder = tmp_path_factory.mktemp("pages")
    for name, make in SAMPLES.items():
        html = student_page(make(), page_url="page.html", hints=HINTS, templates_dir=templates)
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    (folder / "page.html").write_text(lab_page("Forward noise process", PAGE, templates), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"needs {CHROMIUM} and {DRIVER}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'alphabar[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(str(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def visit(browser, file, width=1280, theme="light", anchor=""):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "", "features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    browser.get("about:blank")
    browser.get(file.as_uri() + anchor)


NAMES = [*SAMPLES, "page"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_scrolls_sideways_and_the_console_is_quiet(browser, pages, name, width):
    visit(browser, pages / f"{name}.html", width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    assert "pwned" not in browser.title or name == "hostile"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(browser, pages, name, theme):
    visit(browser, pages / f"{name}.html", theme=theme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script(CONTRAST) == []


def test_the_theme_follows_the_system_and_the_switch(browser, pages):
    ground = "return getComputedStyle(document.body).backgroundColor"
    visit(browser, pages / "half_right.html", theme="dark")
    dark = browser.execute_script(ground)
    visit(browser, pages / "half_right.html", theme="light")
    light = browser.execute_script(ground)
    assert (dark, light) == ("rgb(15, 19, 24)", "rgb(245, 246, 248)")
    browser.execute_script("document.getElementById('th-d').click()")
    assert browser.execute_script(ground) == dark


def test_the_filter_works_without_script(browser, pages):
    visit(browser, pages / "half_right.html")
    shown = "return [...document.querySelectorAll('.task')].filter(t => t.checkVisibility()).length"
    counts = [browser.execute_script(shown)]
    for id in ("f-todo", "f-pass"):
        browser.execute_script(f"document.getElementById('{id}').click()")
        counts.append(browser.execute_script(shown))
    assert counts == [7, 5, 2]


def test_hostile_text_does_nothing(browser, pages):
    visit(browser, pages / "hostile.html")
    assert browser.title.startswith("0/14 · lab01 ")
    assert browser.execute_script("return document.scripts.length") == 0
    assert browser.execute_script("return document.querySelectorAll('[onerror],[onload],[onmouseover]').length") == 0


def test_pictures_are_drawn_sharp_at_both_widths(browser, pages):
    for width in (390, 1280):
        visit(browser, pages / "half_right.html", width)
        images = browser.execute_script(
            "return [...document.querySelectorAll('.grid img')].map(i => [i.naturalWidth, i.width, i.height,"
            " getComputedStyle(i).imageRendering])"
        )
        assert len(images) == 15
        assert all(n == 32 and w >= 32 and w == h and how == "pixelated" for n, w, h, how in images)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("width", [320, 1280])
def test_no_label_of_a_chart_is_cut(browser, tmp_path, templates, width, log):
    result = all_passed()
    shown = [picture for picture in result.pictures if picture.series][:1]
    points = [(0.0, 1e-10), (9.0, 1.0)] if log else [(0.0, -1.25e-9), (9.0, 1.25e-9)]
    series = [one.model_copy(update={"points": points}) for one in shown[0].series]
    shown[0] = shown[0].model_copy(update={"series": series, "log_y": log, "limits": []})
    result = result.model_copy(update={"pictures": shown})
    file = tmp_path / "chart.html"
    html = student_page(result, page_url=None, hints={}, templates_dir=templates)
    file.write_text(html, encoding="utf-8")
    visit(browser, file, width)
    labels = browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = true);"
        "return [...document.querySelectorAll('svg.chart > text')].map(e => [e.textContent,"
        " e.getBoundingClientRect().left - e.ownerSVGElement.getBoundingClientRect().left])"
    )
    assert {text for text, _ in labels} >= ({"1e−10", "1"} if log else {"−1e−9", "0"})
    assert [label for label in labels if label[1] < 0] == []


def test_a_link_into_the_page_shows_the_check(browser, pages):
    visit(browser, pages / "half_right.html", anchor="#task-add_noise.one_timestep")
    top = browser.execute_script("return document.querySelector(':target').getBoundingClientRect().top")
    assert 0 <= top < 200


def test_the_keyboard_reaches_everything(browser, pages):
    from selenium.webdriver import ActionChains, Keys

    visit(browser, pages / "half_right.html")
    reached = set()
    for _ in range(80):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.add(browser.execute_script("return document.activeElement.outerHTML.slice(0, 60)"))
    wanted = (
        '<a class="skip"',
        '<input type="radio" name="th"',
        '<a class="btn"',
        '<a href="#task-',
        "<summary",
        "<pre",
    )
    for start in wanted:
        assert any(element.startswith(start) for element in reached), start


def test_targets_are_large_enough(browser, pages):
    visit(browser, pages / "half_right.html", 390)
    small = browser.execute_script(
        "return [...document.querySelectorAll('summary, .toc a, .btn, .seg label')].filter(e => e.checkVisibility())"
        ".map(e => [e.textContent.trim().slice(0, 30), e.getBoundingClientRect().height]).filter(([, h]) => h < 24)"
    )
    assert small == []


def _strings_in_pdf(pdf: bytes) -> int:
    """Return how much text drawing the PDF holds."""
    total = 0
    for match in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            total += len(re.findall(rb"T[jJ]", zlib.decompress(match[1])))
        except zlib.error:
            continue
    return total


def test_print_opens_what_is_closed_and_leaves_hints_out(browser, pages):
    visit(browser, pages / "half_right.html", theme="dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    seen = browser.execute_script(
        "const shown = s => [...document.querySelectorAll(s)].map(e => e.getBoundingClientRect().height > 0);"
        "return [shown('.task .body'), shown('.more > pre, .more > .scroll'), shown('.hints'), shown('.toc, .seg')]"
    )
    bodies, closed, hints, controls = seen
    assert len(bodies) == 7 and all(bodies) and all(closed) and closed
    assert not any(hints) and not any(controls)
    assert browser.execute_script("return getComputedStyle(document.documentElement).colorScheme") == "light"
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF") and _strings_in_pdf(pdf) > 100
