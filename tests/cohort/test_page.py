import base64
import hashlib
import re
import statistics
from pathlib import Path

import pytest

from grader.cohort.records import CohortResult, FoundSummary
from grader.cohort.statistics import Gathering
from grader.reports.cohort import cohort_page, line
from grader.results import Problem
from grader.scoring import problem_result
from tests import toy
from tests.cohort.made import found, result, row
from tests.reports.lint import Page, faults

TEMPLATES = Path(__file__).parents[2] / "templates"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e'\""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return toy.make(tmp_path_factory.mktemp("course") / "toy").lab("lab01")


def page(lab, rows, unmatched=(), ignored=()):
    gathering = Gathering(lab)
    for one in rows:
        gathering.add(one)
    cohort = CohortResult(
        lab="lab01",
        title="Toys",
        seed="7",
        found=FoundSummary(layout="folders", submissions=len(rows), unmatched=list(unmatched), ignored=list(ignored)),
        rows=[],
        statistics=gathering.finish(found(unmatched=unmatched)),
    )
    return "".join(cohort_page(cohort, lab.tasks, [line(one) for one in rows], TEMPLATES, ["cohort.json"]))


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
    elif where == "unexplained":
        checks = [check.model_copy(update={"message": EVIL}) for check in graded.checks]
        graded = graded.model_copy(update={"checks": checks})
    else:
        told = graded.tasks[0].diagnosis.model_copy(update={"says": EVIL, "misconceptions": [["adds"]]})
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


def test_what_nobody_judged_has_no_score_and_counts_for_none(lab):
    nothing = Problem(kind="several", message="several files could be the submission.")
    rows = [*some(3), row(8, problem_result(lab, "7", "lab01.py", nothing), problem=nothing, source=None)]
    with_it, without = page(lab, rows), page(lab, some(3))
    assert '<td class="tot" data-v="-1">–</td></tr>' in with_it
    kpi = re.compile(r"<dt>Median score</dt><dd>(\S+) ")
    assert kpi.findall(with_it) == kpi.findall(without) == ["7"]


def test_who_handed_in_nothing_has_no_page_and_what_was_left_out_is_named(lab):
    html = page(lab, some(3), unmatched=["s099"], ignored=["README.txt", EVIL])
    assert "s099" in html and "students/s099.html" not in html
    assert "Left out, for it is nobody’s work: README.txt" in html and html.count("<script>") == 1


def test_mistakes_beyond_ten_are_folded_away_and_failures_of_one_are_counted(lab):
    named = [row(i, result({"plain": "failed"}, named={"scale": [[f"mistake_{i:02}"]]})) for i in range(13)]
    alone = [row(20 + i, result({"draws": "failed"}, yours=f"{max(i, 1)}.0")) for i in range(4)]
    html = page(lab, [*named, *alone])
    shown, _, folded = html.partition("3 more, less frequent")
    assert "<code>mistake_09</code>" in shown and "<code>mistake_10</code>" in folded
    assert "Beside these, 2 failures like no other." in html


def test_what_is_slow_and_what_changed_on_the_second_run(lab):
    rows = [row(i, result(seconds=seconds)) for i, seconds in enumerate((1.0, 2.0, 9.0))]
    html = page(lab, [*rows, row(5, result(unstable=["draws"], seconds=2.0))])
    table = html[html.index("Slow and unstable") :].partition("</table>")[0]
    cells = re.findall(r'<th scope="row">([^<]+)</th>' + 3 * r'<td class="num">([^<]*)</td>', table)
    assert cells == [("Add noise", "2.00 s", "9.00 s", "1"), ("Scale a tensor", "2.00 s", "9.00 s", "0")]
    assert 'changed its verdict on the second run <span class="who"><a href="students/s005.html"' in html


def test_the_histogram_counts_and_marks_the_median(lab):
    html = page(lab, some(8))
    bars = re.findall(r"<title>(\d+) students? with (\S+) to (\S+?)(?: \(not included\))?</title>", html)
    finals = [one.final for one in some(8)]
    assert sum(int(count) for count, _, _ in bars) == 8
    for count, low, high in bars:
        inside = [final for final in finals if float(low) <= final < float(high) or final == float(high) == 7]
        assert len(inside) == int(count)
    assert f">median {statistics.median(finals):g}</text>" in html


def test_the_size_of_a_page_grows_by_less_than_two_kilobytes_a_student(lab):
    small, large = len(page(lab, some(100)).encode()), len(page(lab, some(300)).encode())
    assert (large - small) / 200 < 2000
    assert small - 100 * (large - small) / 200 < 60_000


@pytest.fixture
def opened(lab, tmp_path):
    """Open the page of so many students; return the browser."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"needs {CHROMIUM} and {DRIVER}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'alphabar[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'c'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(str(DRIVER)))

    def run(count):
        file = tmp_path / "cohort.html"
        file.write_text(page(lab, some(count)), encoding="utf-8")
        browser.get(file.as_uri())
        return browser

    yield run
    browser.quit()


SHOWN = "return [...document.querySelectorAll('#mt tbody tr:not([hidden])')].map(r => r.cells[0].dataset.v)"


@pytest.mark.browser
def test_it_sorts_finds_and_highlights(opened):
    browser = opened(12)
    totals = "return [...document.querySelectorAll('#mt tbody td.tot')].map(r => +r.dataset.v)"
    total = browser.find_element("css selector", "#mt thead th:last-child button")
    total.click()
    assert browser.execute_script(totals) == sorted(browser.execute_script(totals), reverse=True)
    total.click()
    assert browser.execute_script(totals) == sorted(browser.execute_script(totals))
    browser.find_element("css selector", "#mt thead th:first-child button").click()
    assert browser.execute_script(SHOWN) == [f"s{i:03}" for i in range(11, -1, -1)]
    browser.find_element("id", "q").send_keys("S01")
    assert browser.execute_script(SHOWN) == ["s011", "s010"]
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


@pytest.mark.browser
def test_rows_off_the_screen_cost_nothing_and_are_there_for_keys_and_for_print(opened):
    browser = opened(1002)
    browser.execute_script("document.getElementById('matrix').scrollIntoView()")
    painted = """
        const done = arguments[0], rows = [...document.querySelectorAll('#mt tbody tr')];
        const seen = row => row.lastElementChild.checkVisibility({contentVisibilityAuto: true});
        const look = frames => requestAnimationFrame(() => setTimeout(() => {
            const count = rows.filter(seen).length;  // none before the browser has drawn them, on a busy machine
            if (count || !frames) done(count); else look(frames - 1);
        }));
        look(100);
    """
    assert 10 < browser.execute_async_script(painted) < 100
    assert browser.execute_script("return document.querySelector('.mx').scrollHeight") > 1002 * 33
    edges = """
        const edge = row => [...row.cells].map(cell => Math.round(cell.getBoundingClientRect().left));
        return [edge(document.querySelector('#mt thead tr')), edge(document.querySelector('#mt tbody tr'))];
    """
    head, first = browser.execute_script(edges)
    assert head == first

    browser.find_element("css selector", "#mt thead th:first-child button").click()
    assert browser.execute_script(SHOWN)[:4] == ["s1001", "s1000", "s999", "s998"]
    keys = """
        document.querySelector('#mt tbody td a').focus();
        const press = key => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        for (let i = 0; i < 200; i++) press('ArrowDown');
        press('ArrowRight');
    """
    browser.execute_script(keys)
    assert browser.execute_async_script(painted) < 100
    where = """
        const link = document.activeElement, box = link.getBoundingClientRect();
        const around = document.querySelector('.mx').getBoundingClientRect();
        return [link.getAttribute('href'), box.top >= around.top && box.bottom <= around.bottom];
    """
    assert browser.execute_script(where) == ["students/s801.html#task-jitter", True]

    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    printed = "return ['table', 'thead', 'tr'].map(e => getComputedStyle(document.querySelector(`.mx ${e}`)).display)"
    assert browser.execute_script(printed) == ["table", "table-header-group", "table-row"]
    assert browser.execute_async_script(painted) == 1002
