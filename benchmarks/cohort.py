"""A class of generated submissions of lab01: judges, Dask, kills at random, hostile company, the page in a browser.

    python benchmarks/cohort.py speed [N]      1 and 2 judges, Dask, and what two processes can do here at all
    python benchmarks/cohort.py scale [N]      N submissions against a tenth of them: each one's time, the memory
    python benchmarks/cohort.py kills [TIMES]  killed at random moments, then compared with an undisturbed run
    python benchmarks/cohort.py attacks        the same class with every attack of tests/attacks in it
    python benchmarks/cohort.py page [N]       the page of N students in Chromium: load, sort, find

Prints what it measured; nothing is asserted. Submissions are the reference, its known mistakes and its equivalents,
each with a comment of its own. CPU is that of all processes, the workers in their sandboxes included: `grade cohort`
runs through peers/where.py, which lets the judges end instead of killing them, and so lets the kernel count.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
from peers.measure import adopt_orphans, wait_for_orphans

from grader.cli.instructor import read_cohort
from grader.cohort.records import CohortResult
from grader.cohort.run import canonical_cohort
from grader.course import Lab, apply_edits, load
from grader.results import canonical

ROOT = Path(__file__).resolve().parent.parent
GRADE = str(Path(sys.executable).parent / "grade")
COHORT = [sys.executable, str(Path(__file__).parent / "peers" / "where.py"), "plain", "cohort"]
CORES = sorted(os.sched_getaffinity(0))
ENVIRONMENT = {**os.environ, "GRADE_COURSE": str(ROOT)}
SPIN = "x = 0\nfor i in range(20_000_000): x += i"


def sources(lab: Lab) -> list[str]:
    """Return the reference and everything that one edit makes of it."""
    edits = [*lab.misconceptions, *lab.equivalents]
    made = [apply_edits(lab.reference, [edit], lab.manifest.reference) for edit in edits]
    return [lab.reference, lab.reference, *(text for text in made if text is not None)]


def hand_in(folder: Path, lab: Lab, count: int) -> Path:
    """Write `count` different submissions."""
    texts = sources(lab)
    random.Random(1).shuffle(texts)
    for number, text in enumerate(itertools.islice(itertools.cycle(texts), count)):
        (folder / f"hand-in-{number:04}").mkdir(parents=True)
        (folder / f"hand-in-{number:04}" / f"{lab.id}.py").write_text(f"{text}\n# hand-in {number}\n", encoding="utf-8")
    return folder


def measure(
    lab: Lab, submissions: Path, out: Path, *words: str, cores: Sequence[int] = CORES
) -> tuple[float, float, float]:
    """Run `grade cohort`; return wall seconds, CPU seconds of all processes, and the coordinator's peak in MiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with (out.parent / f"{out.name}.log").open("w") as log:
        process = subprocess.Popen(
            [*COHORT, lab.id, str(submissions), "-o", str(out), *words],
            env=ENVIRONMENT,
            stderr=log,
            stdout=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        peak = 0.0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)])
            time.sleep(0.1)
    wall = time.perf_counter() - start
    wait_for_orphans()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit((out.parent / f"{out.name}.log").read_text())
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def calibrate() -> float:
    """Return how much faster two processes do their work side by side than one after the other: the median of three."""

    def spin(count: int) -> float:
        start = time.perf_counter()
        for process in [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]:
            process.wait()
        return time.perf_counter() - start

    return statistics.median(2 * spin(1) / spin(2) for _ in range(3))


def speed(folder: Path, lab: Lab, count: int) -> None:
    """Compare judges and executors. One judge has one core: its sandbox would use a second one, too."""
    submissions = hand_in(folder / "in", lab, count)
    factor = calibrate()
    print(f"two processes side by side do {factor:.2f} times the work of one on this machine")
    results, walls = {}, {}
    for name, cores, words in (
        ("1 judge, 1 core", CORES[:1], ["--jobs", "1"]),
        ("2 judges", CORES[:2], ["--jobs", "2"]),
        ("Dask, 2 workers", CORES[:2], ["--jobs", "2", "--executor", "dask"]),
    ):
        out = folder / name.replace(" ", "-").replace(",", "")
        out.mkdir()
        for key in folder.glob("*/students.key.json"):
            (out / key.name).write_bytes(key.read_bytes())
        wall, cpu, peak = measure(lab, submissions, out, *words, cores=cores)
        walls[name], results[name] = wall, canonical_cohort(read_cohort(out))
        # Dask's workers kill their judges, and what those had started is never counted.
        used = f"CPU {1000 * cpu / count:5.0f} ms each, start included; " if "dask" not in words else ""
        print(
            f"{name:<16} {count} submissions: wall {wall:6.1f} s, {1000 * wall / count:5.0f} ms each; "
            f"{used}coordinator {peak:.0f} MiB",
            flush=True,
        )
    gained = walls["1 judge, 1 core"] / walls["2 judges"]
    print(f"2 judges do {gained:.2f} times the work of 1: {gained / factor:.0%} of what the machine can")
    print(f"Dask takes {walls['Dask, 2 workers'] / walls['2 judges']:.2f} times as long as local")
    print(f"canonical results equal: {len(set(results.values())) == 1}")


def scale(folder: Path, lab: Lab, count: int) -> None:
    """Compare a class with a tenth of it, which is graded before and after, since the machine may change."""
    few = max(1, count // 10)
    units: dict[int, list[tuple[float, float, float]]] = {few: [], count: []}
    for number, size in enumerate((few, count, few)):
        submissions = hand_in(folder / f"in-{number}", lab, size)
        wall, cpu, peak = measure(lab, submissions, folder / f"out-{number}", "--jobs", "2")
        units[size].append((wall / size, cpu / size, peak))
        print(
            f"{size} submissions: wall {wall:.1f} s, {1000 * wall / size:.0f} ms each; "
            f"CPU {1000 * cpu / size:.0f} ms each, start included; coordinator {peak:.0f} MiB",
            flush=True,
        )
    (many,), fewer = units[count], [statistics.mean(column) for column in zip(*units[few], strict=True)]
    wall, cpu, peak = (large / small for large, small in zip(many, fewer, strict=True))
    print(f"{count} against {few}: wall each {wall:.2f}, CPU each {cpu:.2f}, coordinator's memory {peak:.2f} times")


def _differences(expected: CohortResult, found: CohortResult) -> list[str]:
    """Return what differs, as lines.

    Of a student whose process was killed, a check is marked as changed on its second run, and its task has no name:
    there only verdicts and points are compared, and what rests on names in the statistics is not.
    """
    if canonical_cohort(found) == canonical_cohort(expected):
        return []
    marked = [any(check.unstable for check in row.checks) for row in found.rows]
    texts = []
    for cohort in (expected, found):
        lines = [canonical_cohort(cohort)] if not any(marked) else []
        for row, is_marked in zip(cohort.rows, marked, strict=True):
            verdicts = [f"{check.id} {check.outcome} {check.earned}" for check in row.checks]
            lines += [row.student, str(row.final), *(verdicts if is_marked else [canonical(row)])]
        texts.append("\n".join(lines).splitlines())
    return list(difflib.unified_diff(*texts, n=2, lineterm=""))


def kills(folder: Path, lab: Lab, times: int) -> None:
    """Kill runs at random moments, `times` times, then let one through.

    Every second run is on Dask; two kills in three hit the coordinator, the others any process that it has
    started.
    """
    submissions = hand_in(folder / "in", lab, 40)
    measure(lab, submissions, folder / "undisturbed")
    out, log = folder / "killed", folder / "killed.log"
    out.mkdir()
    (out / "students.key.json").write_bytes((folder / "undisturbed" / "students.key.json").read_bytes())
    expected = read_cohort(folder / "undisturbed")
    chance, killed, others, codes = random.Random(2), 0, 0, Counter[int]()
    same, since = True, list[str]()  # what was killed since the last run that came through
    for number in itertools.count():
        if killed + others >= times:
            break
        words = [GRADE, "cohort", lab.id, str(submissions), "-o", str(out)]
        words += ["--executor", "dask"] if number % 2 else []
        with log.open("w") as said:
            process = subprocess.Popen(words, env=ENVIRONMENT, stderr=said, stdout=said)
        while process.poll() is None and killed + others < times:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, 12.0))
                break
            started = psutil.Process(process.pid).children(recursive=True)
            if started and (killed + others) % 3 == 1:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one = chance.choice(started)
                    since.append(" ".join(one.cmdline())[-60:])
                    one.kill()
                    others += 1
            else:
                since.append("coordinator")
                process.kill()
                killed += 1
                process.wait()
        if process.wait() != -signal.SIGKILL:  # it came through: begin again
            codes[process.returncode] += 1
            if process.returncode != 0:  # it stopped, and says why; the next run goes on from there
                print(f"after killing {since}: exit code {process.returncode}", log.read_text()[-2000:], sep="\n")
                continue
            if lines := _differences(expected, read_cohort(out)):
                same = False
                print(f"after killing {since}:", log.read_text()[-2000:], *lines[:60], sep="\n")
            since.clear()
            print(f"{killed + others} kills, all equal to undisturbed so far: {same}", flush=True)
            for name in ("results.sqlite", "results.sqlite-wal", "results.sqlite-shm"):
                (out / name).unlink(missing_ok=True)
    measure(lab, submissions, out)
    same = same and not _differences(expected, read_cohort(out))
    print(f"kills: {killed} of the coordinator, {others} of judges, sandboxes and workers")
    print(f"runs that came through meanwhile, by exit code: {dict(codes)}")
    print(f"canonical results equal to undisturbed, each of them: {same}")


def attacks(folder: Path, lab: Lab) -> None:
    """Grade honest submissions alone and in hostile company."""
    submissions = hand_in(folder / "in", lab, 30)
    measure(lab, submissions, folder / "alone", "--jobs", "2")
    hostile = sorted((ROOT / "tests" / "attacks").glob("*.py"))
    task = next(task for task in lab.tasks if task.parameters)
    calls = (
        f"\n\ndef {task.signature}:\n    return step({task.parameters[0]})\n"  # what an attack does, it does in `step`
    )
    for attack in hostile:
        (submissions / attack.stem).mkdir()
        (submissions / attack.stem / f"{lab.id}.py").write_bytes(attack.read_bytes() + calls.encode())
    wall, _, _ = measure(lab, submissions, folder / "together", "--jobs", "2")
    alone = {row.submission: row for row in read_cohort(folder / "alone").rows}
    together = {row.submission: row for row in read_cohort(folder / "together").rows}
    same = sum([c.outcome for c in alone[name].checks] == [c.outcome for c in together[name].checks] for name in alone)
    earned = [(name, row.score.earned) for name, row in together.items() if name not in alone and row.score.earned]
    print(f"{len(hostile)} attacks among {len(alone)} honest, {wall:.0f} s: {same} honest ones judged as before")
    print(f"attacks that earned points: {earned or 'none'}")


def page(folder: Path, lab: Lab, count: int) -> None:
    """Load, sort and search the page of `count` students, made of one small class's rows over and over."""
    from selenium import webdriver

    from grader.cohort.records import Found
    from grader.cohort.statistics import Gathering
    from grader.reports.cohort import cohort_page, line

    measure(lab, hand_in(folder / "in", lab, 12), folder / "out")
    small = read_cohort(folder / "out")
    gathering, lines = Gathering(lab), []
    for number, row in zip(range(count), itertools.cycle(small.rows), strict=False):
        one = row.model_copy(update={"student": f"s{number:04}"})
        gathering.add(one)
        lines.append(line(one))
    found = Found(layout="folders", entries=[], unmatched=[], ignored=[])
    result = small.model_copy(update={"statistics": gathering.finish(found), "rows": []})
    file = folder / "cohort.html"
    file.write_text("".join(cohort_page(result, lab.tasks, lines, ROOT / "templates", ["cohort.json"])), "utf-8")
    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'chromium'}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    service = webdriver.chrome.service.Service(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    script = """
        const done = arguments[1], start = performance.now();
        eval(arguments[0]);
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
    """
    try:
        start = time.perf_counter()
        browser.get(file.as_uri())
        loaded = time.perf_counter() - start
        # The policy forbids eval in the page; the browser's own console may.
        browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
        browser.get(file.as_uri())
        sort = "document.querySelector('#mt thead th:last-child button').click()"
        find = "const q = document.getElementById('q'); q.value = 's01'; q.dispatchEvent(new Event('input'))"
        took = {name: browser.execute_async_script(script, code) for name, code in (("sort", sort), ("find", find))}
    finally:
        browser.quit()
    size = file.stat().st_size
    print(f"{count} students, {len(lab.tasks)} tasks: {size / 1e6:.1f} MB, {size / count:.0f} bytes a student")
    print(f"load {loaded:.2f} s; until painted again: sort {took['sort']:.0f} ms, find {took['find']:.0f} ms")


def main() -> None:
    """Do what was asked for."""
    what = sys.argv[1] if len(sys.argv) > 1 else "speed"
    number = int(sys.argv[2]) if len(sys.argv) > 2 else None
    lab = load(ROOT).lab("lab01")
    if what in ("speed", "scale"):
        adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="alphabar-bench-") as name:
        folder = Path(name)
        if what == "speed":
            speed(folder, lab, number or 200)
        elif what == "scale":
            scale(folder, lab, number or 2000)
        elif what == "kills":
            kills(folder, lab, number or 200)
        elif what == "attacks":
            attacks(folder, lab)
        elif what == "page":
            page(folder, lab, number or 2000)
        else:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
