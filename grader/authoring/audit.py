"""`grade audit`: the proof that a lab's checks accept right code and reject wrong code, and name it.

The whole story: list what to try (`_Plan`), try it (`pool`, through the same door as a student's file), and say of each
trial which promise it breaks. A promise is a sentence in `docs/authors.md`; a broken one is a fault, and a lab with
faults is not clean.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from grader.authoring import contract, hollow
from grader.authoring.mutants import diff, mutants
from grader.authoring.pool import Journal, Pool
from grader.authoring.trials import Kind, Spec, Trial
from grader.authoring.written import written_faults
from grader.course import Course, Lab, apply_edits, definition_span
from grader.errors import CourseError
from grader.manifest import Edit, Task, Waiver, Waivers, read
from grader.seeds import of_check

EQUIVALENT_LIMIT = 0.5  # an honest rewrite may use half the tolerance
MEMORISED = f"hollow: {hollow.HARD_CODED}"
MARGIN = 5.0  # a real-valued mistake misses by this many tolerances
SEEDS, QUICK_SEEDS = 20, 3  # the course's own among them
QUICK_MUTANTS = 96  # of a lab, in the same place every time


class PairCounts(BaseModel):
    """How two mistakes at once were diagnosed."""

    exact: int = 0
    one_of: int = Field(default=0, description="Named together with others that answer the same.")
    subset: int = Field(default=0, description="One of the two was named: it hides the other.")
    unnamed: int = 0
    wrong: int = Field(default=0, description="Something else was named.")
    passed: int = Field(default=0, description="The two cancelled: full marks.")


class TaskAudit(BaseModel):
    """One task's counts."""

    task: str
    checks: int
    misconceptions: int
    named: int = Field(description="Misconceptions that were rejected and named alone.")
    equivalents: int
    passed: int = Field(description="Equivalents that passed with half of the tolerance to spare.")
    mutants: int
    killed: int
    waived: int
    hollow: int = Field(description="Kinds of hollow answers that were tried.")
    hollow_share: float = Field(description="Largest share of the task's points that a kind of hollow answers earned.")
    memorised_share: float = Field(description="Share that answers right for the visible checks' inputs alone earned.")
    noise: dict[str, float | None] = Field(
        default={}, description="Kind of rounding -> largest distance in tolerances; null: cannot be measured here."
    )
    nearest_equivalent: float | None = Field(default=None, description="Largest distance of right code, in tolerances.")
    nearest_mistake: float | None = Field(
        default=None, description="Smallest distance of rejected code, in tolerances."
    )
    nearest_mistake_id: str | None = None
    seconds: float = Field(description="What the task's checks take on the reference.")


class LabAudit(BaseModel):
    """The audit of one lab; clean when `faults` is empty."""

    lab: str
    title: str
    quick: bool
    seeds: int
    tasks: list[TaskAudit]
    pairs: PairCounts | None
    survivors: list[Trial] = Field(description="Mutants that every check passes, and that nobody waived.")
    notes: list[str] = Field(description="What an author may want to know and need not change.")
    faults: list[str]
    trials: list[Trial]
    ran: int = Field(description="Trials that ran now; the others were kept from before.")


def audit(
    course: Course,
    lab: Lab,
    *,
    quick: bool,
    pool: Pool,
    progress: Callable[[str], None],
    tasks: Sequence[str] = (),
) -> LabAudit:
    """Audit one lab, or some of its tasks.

    `quick`: a sample of the mutants, right code alone on two more seeds, no pairs, no noise.
    """
    if lab.is_student_edition:
        raise CourseError(f"{lab.id} is a student edition: it holds no reference to audit against.")
    plan = _Plan(lab, course.seed, quick, [task for task in lab.tasks if not tasks or task.id in tasks])
    waivers = _read_waivers(lab)
    journal = Journal(lab, pool, progress)
    trials = journal.run(plan.specs)
    survivors = [(s, t) for s, t in zip(plan.specs, trials, strict=True) if t.kind == "mutant" and not t.rejected_by]
    searches = journal.run([_search(spec) for spec, _ in survivors if _waiver(waivers, spec) is None])
    return _conclude(lab, plan, waivers, trials, searches, journal.ran)


# What to try.


class _Plan:
    """All trials of one audit, in the order in which they are worth seeing first."""

    def __init__(self, lab: Lab, seed: str, quick: bool, tasks: Sequence[Task]) -> None:
        self.lab, self.seed, self.quick, self.tasks = lab, seed, quick, tasks
        ids = [task.id for task in tasks]
        self.only = None if len(tasks) == len(lab.tasks) else tuple(ids)
        self.misconceptions = [edit for edit in lab.misconceptions if edit.task in ids]
        self.equivalents = [edit for edit in lab.equivalents if edit.task in ids]
        others = range(1, QUICK_SEEDS if quick else SEEDS)
        self.seeds = [seed, *(f"{of_check(seed, f'audit {k}'):x}" for k in others)]
        self.mutants = {task.id: mutants(lab, task.id) for task in tasks}
        self.specs = [*self._plain(), *self._mutants(), *self._hollow(), *self._pairs(), *self._other_seeds()]

    def _spec(self, kind: Kind, source: str, task: str | None = None, ids: Sequence[str] = ()) -> Spec:
        tasks = self.only if task is None or kind == "broken" else (task,)
        return Spec(
            kind, source, self.seed, task, tuple(ids), tasks, diff=diff(self.lab.reference, source) if ids else ""
        )

    def _plain(self) -> Iterator[Spec]:
        lab = self.lab
        yield self._spec("reference", lab.reference)
        yield self._spec("starter", lab.starter)
        for mistake in self.misconceptions:
            for edit in mistake.spellings:
                yield self._spec(
                    "misconception", edited(lab, [edit]), edit.task, [edit.key.removeprefix(f"{edit.task}/")]
                )
        for right in self.equivalents:
            yield self._spec("equivalent", edited(lab, [right]), right.task, [right.id])
        for task in self.tasks:
            yield self._spec("broken", _broken(lab, task.id), task.id)

    def _mutants(self) -> Iterator[Spec]:
        for made in self.mutants.values():
            if self.quick:
                # By digest, so that a mutant more or less elsewhere does not change the sample.
                most = max(4, QUICK_MUTANTS // len(self.mutants))
                made = sorted(made, key=lambda m: hashlib.sha256(m.id.encode()).digest())[:most]
            for one in made:
                changed = diff(self.lab.reference, one.source)
                yield Spec("mutant", one.source, self.seed, one.task, (one.id,), one.tasks, one.line, changed)

    def _hollow(self) -> Iterator[Spec]:
        for task in self.tasks:
            for kind in hollow.HOLLOW:
                source = hollow.hollow(self.lab, task.id, kind)
                yield Spec("hollow", source, self.seed, task.id, (f"hollow: {kind}",), (task.id,))
            if any(
                self.lab.parameters(name) for name in task.functions
            ):  # else there is one answer, and writing it down is right
                # The runner looks the visible checks' inputs up and makes the source.
                ids = (MEMORISED,)
                yield Spec("hollow", self.lab.reference, self.seed, task.id, ids, (task.id,))
            for kind in () if self.quick else hollow.NOISE:
                source = hollow.noisy(self.lab, task.id, kind)
                yield Spec("noise", source, self.seed, task.id, (kind,), (task.id,))

    def _pairs(self) -> Iterator[Spec]:
        if self.quick:
            return
        for first, second in itertools.combinations(self.misconceptions, 2):
            if first.task == second.task:
                source = apply_edits(self.lab.reference, [first, second], self.lab.manifest.reference)
                if source is not None:  # else they edit the same place: nobody can make both mistakes
                    yield self._spec("pair", source, first.task, [first.id, second.id])

    def _other_seeds(self) -> Iterator[Spec]:
        """Yield reference, equivalents and mistakes on other seeds, one edit of every task in each source."""
        right = rows(self.equivalents)
        mistakes = [] if self.quick else self.misconceptions  # two seeds more tell little of chance, and take long
        wrong = rows([spelling for mistake in mistakes for spelling in mistake.spellings])
        for seed in self.seeds[1:]:  # the first is the course's own, as of every other trial
            for edits in ([], *right, *wrong):
                source = edited(self.lab, edits) if edits else self.lab.reference
                # An edit of one task costs nothing in another: `broken` proves it.
                tasks = tuple(edit.task for edit in edits) or self.only
                yield Spec("seed", source, seed, None, tuple(edit.key for edit in edits), tasks)


def edited(lab: Lab, edits: Sequence[Edit]) -> str:
    """Return the reference with `edits`; CourseError where they overlap each other."""
    source = apply_edits(lab.reference, edits, lab.manifest.reference)
    if source is None:
        raise CourseError(f"{lab.id}: the places that {edits[0].task}/{edits[0].id} replaces overlap each other.")
    return source


def rows(edits: Sequence[Edit]) -> list[list[Edit]]:
    """Share edits out into as few rows as fit together: one of each task, no helper of the same name."""
    made: list[list[Edit]] = []
    for edit in edits:
        for row in made:
            helpers = set().union(*(_defines(other) for other in row))
            if all(other.task != edit.task for other in row) and not helpers & _defines(edit):
                row.append(edit)
                break
        else:
            made.append([edit])
    return made


def _defines(edit: Edit) -> set[str]:
    lines = (edit.code or "").splitlines()
    return {line.split()[1].split("(")[0].rstrip(":") for line in lines if line.startswith(("def ", "class "))}


def _broken(lab: Lab, task: str) -> str:
    source = lab.reference
    raising = 'raise RuntimeError("broken on purpose")'
    for name in lab.task(task).functions:
        start, end = definition_span(source, name, lab.manifest.reference)
        is_class = any(isinstance(node, ast.ClassDef) for node in ast.parse(source[start:end]).body)
        code = (
            f"class {name}:\n    def __init__(self, *args, **kwargs):\n        {raising}\n"
            if is_class
            else f"def {name}(*args, **kwargs):\n    {raising}\n"
        )
        source = source[:start] + code + source[end:]
    return source


def _search(spec: Spec) -> Spec:
    return Spec("search", spec.source, spec.seed, spec.task, spec.ids, spec.tasks)


# What came of it.


@dataclass(frozen=True)
class _Seen:
    """All trials by kind, with what the promises are made of."""

    lab: Lab
    plan: _Plan
    waivers: Sequence[Waiver]
    trials: Sequence[Trial]

    def of(self, kind: Kind, task: str | None = None) -> list[Trial]:
        return [t for t in self.trials if t.kind == kind and (task is None or t.task == task)]

    @property
    def checks(self) -> list[str]:
        return list(self.of("reference")[0].outcomes)

    def checks_of(self, task: str) -> list[str]:
        return [check for check in self.checks if check.startswith(f"{self.lab.id}/{task}.")]


def _conclude(
    lab: Lab, plan: _Plan, waivers: Sequence[Waiver], trials: Sequence[Trial], searches: Sequence[Trial], ran: int
) -> LabAudit:
    seen = _Seen(lab, plan, waivers, trials)
    found = {tuple(s.ids): s for s in searches}
    survivors = [
        trial.model_copy(
            update={k: getattr(found[tuple(trial.ids)], k) for k in ("separates", "searched", "distances")},
        )
        for trial in seen.of("mutant")
        if not trial.rejected_by and tuple(trial.ids) in found
    ]
    pairs = None if plan.quick else _count_pairs(seen)
    seed_faults, notes = _seed_verdicts(seen)
    faults = list(written_faults(lab))
    for trial in trials:
        faults += [f"{_name(trial)}: {fault}" for fault in _faults(trial, seen)]
        faults += [f"{_name(trial)}: {leak}" for leak in trial.leaks]
    faults += seed_faults
    faults += _idle_checks(seen)
    faults += _valueless(seen)
    faults += [f"{_name(t)}, line {t.line}: every check passes it ({_why(t)})" for t in survivors]
    faults += _idle_waivers(seen)
    return LabAudit(
        lab=lab.id,
        title=lab.manifest.title,
        quick=plan.quick,
        seeds=len(plan.seeds),
        tasks=[_task(seen, task.id) for task in plan.tasks],
        pairs=pairs,
        survivors=survivors,
        notes=notes,
        faults=list(dict.fromkeys(faults)),
        trials=list(trials),
        ran=ran,
    )


def _name(trial: Trial) -> str:
    words = " + ".join(trial.ids)
    if trial.kind == "seed":
        return f"seed {trial.seed}"
    return f"{trial.task}/{words}" if trial.task and words else trial.task or words or trial.kind


def _why(survivor: Trial) -> str:
    if survivor.separates:
        return f"this call tells them apart: {survivor.separates}"
    largest = next(iter(survivor.distances.values()), None)
    same = (
        "to the last bit" if largest == 0 else f"within {largest:.2g} of the tolerance" if largest is not None else ""
    )
    return f"{survivor.searched} other calls answered alike, {same}; add a check, or waive it in waivers.toml"


def _faults(trial: Trial, seen: _Seen) -> Iterator[str]:
    """Yield the promises that one trial breaks, as sentences."""
    if trial.unstable:
        yield f"the verdict of {', '.join(trial.unstable)} changed when it was run again"
    if trial.kind == "reference" and trial.rejected_by:
        yield f"the reference does not pass {trial.first}"
    if trial.kind == "starter" and trial.earned:
        yield f"the starter earns {trial.earned:g} points"
    if trial.kind == "equivalent":
        if trial.rejected_by:
            yield f"right code in another form fails {trial.first}"
        elif trial.distance is not None and trial.distance > EQUIVALENT_LIMIT:
            yield f"passes with {trial.distance:.2g} of the tolerance; at most {EQUIVALENT_LIMIT} was expected"
    if trial.kind == "broken":
        own = seen.checks_of(trial.task or "")
        strayed = [check for check in trial.rejected_by if check not in own]
        if strayed:
            yield f"a mistake here costs points in another task: {', '.join(strayed)}"
        idle = [check for check in own if check not in trial.rejected_by]
        if idle:
            yield f"code that only raises passes {', '.join(idle)}"
    if trial.kind == "hollow" and trial.applies and not trial.rejected_by and _waiver(seen.waivers, trial) is None:
        yield "hollow answers earn full marks"
    if trial.kind == "pair" and not trial.rejected_by:
        yield "two mistakes at once earn full marks"
    elif trial.kind == "pair" and _named_wrongly(trial):
        yield f"two mistakes at once are taken for {' or '.join('+'.join(names) for names in trial.named)}"
    if trial.kind == "misconception":
        if not trial.rejected_by:
            yield "no check rejects it"
        elif trial.named != [[trial.ids[0].partition("#")[0]]]:
            said = " or ".join("+".join(names) for names in trial.named) or "nothing"
            yield f"the diagnosis names {said}"
    is_wrong = trial.kind in ("misconception", "mutant") and trial.rejected_by
    is_near = trial.distance is not None and 1.0 < trial.distance < MARGIN
    if is_wrong and is_near and _waiver(seen.waivers, trial) is None:
        yield f"misses by only {trial.distance:.2g} tolerances; at least {MARGIN:g} were expected"


def _task(seen: _Seen, task: str) -> TaskAudit:
    mistakes, right, made = seen.of("misconception", task), seen.of("equivalent", task), seen.of("mutant", task)
    tried = [t for t in seen.of("hollow", task) if t.applies]
    checks = seen.checks_of(task)
    spare = [t for t in right if not t.rejected_by and (t.distance or 0.0) <= EQUIVALENT_LIMIT]
    distances = [t.distance for t in right if t.distance is not None]
    for other in seen.of("seed"):
        if any(name in {e.key for e in seen.lab.equivalents} for name in other.ids):
            distances += [d for c, d in other.distances.items() if c in checks and d is not None]
    missed = [(t.distance, t) for t in mistakes + made if t.rejected_by and t.distance is not None and t.distance > 1]
    nearest = min(missed, key=lambda one: one[0], default=None)
    seconds = seen.of("reference")[0].seconds
    return TaskAudit(
        task=task,
        checks=len(checks),
        misconceptions=len(mistakes),
        named=sum(t.named == [[t.ids[0].partition("#")[0]]] for t in mistakes),
        equivalents=len(right),
        passed=len(spare),
        mutants=len(made),
        killed=sum(bool(t.rejected_by) for t in made),
        waived=sum(not t.rejected_by and _waiver(seen.waivers, t) is not None for t in made),
        hollow=len(tried),
        hollow_share=_share(t for t in tried if t.ids[0] != MEMORISED),
        memorised_share=_share(t for t in tried if t.ids[0] == MEMORISED),
        noise={t.ids[0]: t.distance if not t.rejected_by else None for t in seen.of("noise", task)},
        nearest_equivalent=max(distances, default=None),
        nearest_mistake=nearest[0] if nearest else None,
        nearest_mistake_id=_name(nearest[1]) if nearest else None,
        seconds=round(sum(seconds.get(check, 0.0) for check in checks), 3),
    )


def _share(trials: Iterable[Trial]) -> float:
    return round(max((t.earned / t.possible for t in trials if t.possible), default=0.0), 2)


def _named_wrongly(pair: Trial) -> bool:
    """Tell whether something else was named: neither the pair, alone or as one of several, nor one of the two."""
    return pair.ids not in pair.named and not all(set(names) < set(pair.ids) for names in pair.named)


def _count_pairs(seen: _Seen) -> PairCounts:
    counts: Counter[str] = Counter()
    for trial in seen.of("pair"):
        ids = trial.ids
        if not trial.rejected_by:
            counts["passed"] += 1
        elif trial.named == [ids]:
            counts["exact"] += 1
        elif ids in trial.named:
            counts["one_of"] += 1
        elif not trial.named:
            counts["unnamed"] += 1
        elif _named_wrongly(trial):
            counts["wrong"] += 1
        else:
            counts["subset"] += 1
    return PairCounts(**counts)


def _seed_verdicts(seen: _Seen) -> tuple[list[str], list[str]]:
    """Return (faults, notes): the checks whose verdict hangs on the course's seed.

    One check at least rejects a mistake on every seed. Several that are each blind now and then would leave it to
    chance whether one of them sees it.
    """
    faults, notes = [], []
    rejections = {f"{t.task}/{t.ids[0]}": [set(t.rejected_by)] for t in seen.of("misconception") if t.rejected_by}
    known = {spelling.key for mistake in seen.lab.misconceptions for spelling in mistake.spellings}
    for trial in seen.of("seed"):
        for name in rejections.keys() & trial.ids:
            of_task = f"{seen.lab.id}/{name.split('/')[0]}."
            rejections[name].append({check for check in trial.rejected_by if check.startswith(of_task)})
        if trial.rejected_by and not known & set(trial.ids):
            whose = ", ".join(n for n in trial.ids if any(f"/{n.split('/')[0]}." in c for c in trial.rejected_by))
            faults.append(
                f"seed {trial.seed}: {', '.join(trial.rejected_by)} rejects right code ({whose or 'the reference'})"
            )
    for name, by_seed in rejections.items():
        counts = Counter(check for rejected in by_seed for check in sorted(rejected))
        blind = [f"{check} on {n} of {len(by_seed)} seeds" for check, n in counts.items() if n < len(by_seed)]
        if len(blind) == len(counts):
            faults.append(f"{name}: no check rejects it on every seed ({'; '.join(blind)}): draw from where it decides")
        else:
            notes += [f"{name} is rejected by {one} only" for one in blind]
    return faults, notes


def _idle_checks(seen: _Seen) -> list[str]:
    """Return a fault for each check that rejects no misconception: nothing proves that it can fail."""
    proved = {name for t in seen.of("misconception") for name in t.rejected_by}
    return [f"{check}: rejects no misconception" for check in seen.checks if check not in proved]


def _valueless(seen: _Seen) -> list[str]:
    """Return a fault for each task that can be earned, or mostly be earned, by what is no value."""
    reference = seen.of("reference")[0]
    alone = {*reference.properties, *reference.reported}
    faults = []
    for task in seen.plan.tasks:
        if set(seen.checks_of(task.id)) <= alone:
            faults.append(f"{task.id}: no check compares values with the reference's, so nothing can be earned")
        share = sum(reference.reported.get(check, 0.0) for check in seen.checks_of(task.id))
        if share > contract.MOST + 1e-9:
            faults.append(f"{task.id}: {share:.0%} of its points are for what the student's process says of itself")
    return faults


# Waivers.


def _read_waivers(lab: Lab) -> list[Waiver]:
    path = lab.folder / "waivers.toml"
    return read(path, Waivers).waiver if path.is_file() else []


def _waiver(waivers: Sequence[Waiver], one: Spec | Trial) -> Waiver | None:
    # Two tasks may hold the same text, and a reason is given for one of them.
    return next((w for w in waivers if w.task == one.task and [w.mutant] == list(one.ids)), None)


def _idle_waivers(seen: _Seen) -> list[str]:
    """Return a fault for each waiver that waives nothing, or something that is not there any more."""
    faults = []
    trials = {(t.task, t.ids[0]): t for t in seen.trials if t.kind in ("mutant", "hollow")}
    made = {(task, one.id) for task, ones in seen.plan.mutants.items() for one in ones}
    for waiver in seen.waivers:
        if waiver.task in {task.id for task in seen.lab.tasks} - {task.id for task in seen.plan.tasks}:
            continue
        trial = trials.get((waiver.task, waiver.mutant))
        is_near = trial is not None and trial.distance is not None and 1.0 < trial.distance < MARGIN
        if trial is None and (waiver.task, waiver.mutant) not in made:
            faults.append(f"waivers.toml: {waiver.task} has no mutant {waiver.mutant!r}")
        elif trial is not None and trial.rejected_by and not is_near:
            faults.append(f"waivers.toml: {waiver.task}/{waiver.mutant} is rejected, so there is nothing to waive")
    return faults
