import base64
import hashlib
import re
from pathlib import Path

import pytest

from grader.cohort.records import CohortResult, FoundSummary
from grader.cohort.statistics import Gathering
from grader.reports.cohort import cohort_page, line
from grader.results import Problem
from tests import toy
from tests.cohort.made import found, result, row
from tests.reports.lint import Page, faults

TEMPLATES = Path(__file__).parents[2] / "templates"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'\""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course") / "toy").lab("lab01")


def page(lab, rows, unmatched=()):
    gathering = Gathering(lab)
    for one in rows:
        gathering.add(one)
    cohort = CohortResult(
        lab="lab01",
        title="Toys",
        seed=7,
        found=FoundSummary(layout="folders", submissions=len(rows), unmatched=list(unmatched), ignored=[]),
        rows=[],
        statistics=gathering.finish(found(unmatched=unmatched)),
    )
    return cohort_page(cohort, lab.tasks, [line(one) for one in rows], TEMPLATES, ["cohort.json"])


def some(count):
    wrong = result({"plain": "failed"}, named={"scale": [["adds"]]})
    return [row(i, wrong if i % 4 == 0 else result({"draws": "crashed"} if i % 3 == 0 else None)) for i in range(count)]


def broken_promises(html):
    """What a page must hold, but for the one script that this one has and the links to its neighbours."""
    allowed = ("<script>", "the policy allows too much", "a link out without rel=noopener: students/")
    return [one for one in faults(html, budget=10**7) if not one.startswith(allowed)]


def test_the_page_fetches_nothing_and_runs_its_own_script_only(lab):
    html = page(lab, some(30), unmatched=["s099"])
    assert broken_promises(html) == []
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [m["content"] for m in Page(html).all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ") and policy.count("script-src") == 1
    assert f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize("where", ["note", "problem", "named", "says", "unexplained"])
def test_what_comes_from_outside_is_text(lab, where):
    graded = result({"plain": "failed"})
    more = {}
    if where == "note":
        more = {"notes": [EVIL]}
    elif where == "problem":
        graded = result(problem=Problem(kind="import_error", message=EVIL))
    elif where == "named":
        graded = result({"plain": "failed"}, named={"scale": [[EVIL]]})
    else:
        ids = [["adds"]] if where == "says" else []
        told = graded.tasks[0].diagnosis.model_copy(update={"says": EVIL, "misconceptions": ids})
        graded = graded.model_copy(
            update={"tasks": [graded.tasks[0].model_copy(update={"diagnosis": told}), graded.tasks[1]]}
        )
    html = page(lab, [row(i, graded, **more) for i in range(3)])
    assert broken_promises(html) == []
    assert html.count("<script>") == 1 and "<img" not in html and "\u202e" not in html
    assert "alert(1)" in html  # it is shown


def test_few_students_get_no_coefficients(lab):
    few, many = page(lab, some(9)), page(lab, some(12))
    assert "Too few students" in few and "too few students" in few and "Difficulty against" not in few
    assert "Too few students" not in many and "Difficulty against" in many


def test_the_matrix_shows_everybody_and_what_came_of_each_task(lab):
    rows = [*some(4), row(7, result({"draws": "grader_error"})), row(8, result({"plain": "skipped"}))]
    html = page(lab, rows)
    cells = re.findall(r'<tr[^>]*><th scope="row" data-v="(s\d+)">.*?</tr>', html)
    assert cells == [one.student for one in rows]
    assert 'class="h2" href="students/s000.html#task-scale"' in html  # two of four points
    assert '<tr data-m="0"><th scope="row" data-v="s000">' in html  # the first known mistake is theirs
    assert html.count("data-m=") == 2  # that row, and the link that highlights it


def test_the_size_of_a_page_grows_by_less_than_two_kilobytes_a_student(lab):
    small, large = len(page(lab, some(100)).encode()), len(page(lab, some(300)).encode())
    assert (large - small) / 200 < 2000
    assert small - 100 * (large - small) / 200 < 60_000


@pytest.mark.browser
def test_it_sorts_finds_and_highlights(lab, tmp_path):
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"needs {CHROMIUM} and {DRIVER}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'alphabar[dev]'")
    file = tmp_path / "cohort.html"
    file.write_text(page(lab, some(12)), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'c'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(str(DRIVER)))
    try:
        browser.get(file.as_uri())
        shown = "return [...document.querySelectorAll('#mt tbody tr:not([hidden])')].map(r => r.cells[0].dataset.v)"
        totals = "return [...document.querySelectorAll('#mt tbody td.tot')].map(r => +r.dataset.v)"
        total = browser.find_element("css selector", "#mt thead th:last-child button")
        total.click()
        assert browser.execute_script(totals) == sorted(browser.execute_script(totals), reverse=True)
        total.click()
        assert browser.execute_script(totals) == sorted(browser.execute_script(totals))
        browser.find_element("css selector", "#mt thead th:first-child button").click()
        assert browser.execute_script(shown) == [f"s{i:03}" for i in range(11, -1, -1)]
        browser.find_element("id", "q").send_keys("S01")
        assert browser.execute_script(shown) == ["s011", "s010"]
        browser.find_element("id", "q").clear()
        browser.find_element("id", "q").send_keys("s0")
        browser.find_element("css selector", "a[data-m]").click()
        lit = "return [...document.querySelectorAll('#mt tbody tr:not(.dim)')].map(r => r.cells[0].dataset.v)"
        assert browser.execute_script(lit) == ["s008", "s004", "s000"]
        assert browser.find_element("id", "st").text == "3 of 12 students"
        assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        )
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.quit()
