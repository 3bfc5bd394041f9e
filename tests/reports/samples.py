"""Sample records for the tests of the reports: every state a student can meet, and a hostile one."""

import functools

import numpy as np

from fixtures.sprites import sprite
from grader.pictures import Chart, ImageGrid, error_images, to_images, to_record
from grader.results import (
    CheckResult,
    Diagnosis,
    Environment,
    Evidence,
    Frame,
    LabResult,
    Picture,
    Problem,
    Score,
    TaskResult,
)

XSS = (
    "<script>document.title='pwned'</script>",
    "</pre></details></main><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "\"><svg onload=document.title='pwned'>",
    "' onmouseover='document.title=1' x='",
    "javascript:document.title='pwned'",
    "</style><style>body{display:none}</style>",
    "<!-- --><a href='https://evil.example/'>x</a>",
    "{{ 7*7 }}{% for x in y %}",
    "&lt;script&gt;&#60;script&#62; &amp;",
    "]]><![CDATA[<script>alert(1)</script>",
    "`<b onclick=alert(1)>`",
    "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \u202egnp.exe\u2066 \x00\x07\x9b",
)


def environment(isolation: str = "full") -> Environment:
    off = {"full": {}, "partial": {"namespaces": "user namespaces are forbidden here"}, "none": {}}[isolation]
    layers: dict[str, bool | str] = {"namespaces": True, "landlock": True, "seccomp": True, "limits": True} | off
    if isolation == "none":
        layers = dict.fromkeys(layers, "switched off by --sandbox none")
    return Environment(
        grader="0.1.0",
        python="3.11.7",
        platform="Linux x86_64",
        libraries={"torch": "2.13.0", "diffusers": "0.42.1", "numpy": "2.4.6"},
        start_method="spawn" if isolation == "none" else "fork",
        sandbox=layers,
        isolation=isolation,
        graded_at="2026-11-22T18:04:11+00:00",
        durations={"total": 3.42, "add_noise": 0.31},
    )


def check(
    task: str,
    name: str,
    title: str,
    outcome: str = "passed",
    possible: float = 1.0,
    *,
    visible: bool = True,
    earned: float | None = None,
    **fields: object,
) -> CheckResult:
    return CheckResult(
        id=f"lab01/{task}.{name}",
        task=task,
        title=title,
        outcome=outcome,
        earned=(possible if outcome == "passed" else 0.0) if earned is None else earned,
        possible=possible,
        visible=visible,
        **fields,
    )


def task(
    id: str, title: str, checks: list[CheckResult], state: str, line: int | None = None, **fields: object
) -> TaskResult:
    return TaskResult(
        id=id,
        title=title,
        function=id,
        line=line,
        earned=round(sum(c.earned for c in checks), 2),
        possible=round(sum(c.possible for c in checks), 2),
        state=state,
        **fields,
    )


def result(tasks: list[TaskResult], checks: list[CheckResult], **fields: object) -> LabResult:
    values: dict[str, object] = {
        "lab": "lab01",
        "title": "Forward noise process",
        "seed": "1234",
        "submission": "3f9a1c07be55e07b",
        "filename": "lab01.py",
        "score": Score(
            earned=round(sum(t.earned for t in tasks), 2), possible=round(sum(t.possible for t in tasks), 2)
        ),
        "environment": environment(),
    }
    return LabResult(tasks=tasks, checks=checks, **(values | fields))


@functools.cache
def pictures() -> tuple[Picture, ...]:
    betas = np.linspace(1e-4, 0.02, 1000)
    alphas, alphas_cumprod = 1 - betas, np.cumprod(1 - betas)
    steps = [0, 250, 500, 750, 999]
    x0 = sprite("circle", "yellow", r=0.6)
    noise = np.random.default_rng(7).standard_normal((3, 32, 32))

    def noised(level: np.ndarray) -> np.ndarray:
        return np.stack([np.sqrt(level[t]) * x0 + np.sqrt(1 - level[t]) * noise for t in steps])

    reference, yours = noised(alphas_cumprod), noised(alphas)
    yours[4, :, 3:6, 3:9] = np.nan
    grid = ImageGrid(
        title="Your picture, the reference and the difference",
        caption="Same x_0 and the same noise. By t = 999 nothing of the reference's picture should be left.",
        alt="A yellow circle at five noise levels; the reference drowns in noise, yours stays sharp.",
        columns=[f"t = {t}" for t in steps],
        rows=[
            ("reference", to_images(reference)),
            ("yours", to_images(yours)),
            ("|difference|, 0 to 2", error_images(reference, yours, 2.0)),
        ],
    )
    ts = range(0, 1000, 9)
    signal = Chart(
        title="How much of x_0 survives",
        caption="The factor before `x_0`, recovered from your output by least squares.",
        alt="The reference falls from 1 to 0.006; yours stays above 0.99.",
        x_label="timestep t",
        y_label="signal coefficient",
        series=[
            ("reference", "reference", [(t, float(alphas_cumprod[t]) ** 0.5) for t in ts]),
            ("yours", "yours", [(t, float(alphas[t]) ** 0.5) for t in ts]),
        ],
    )
    snr = Chart(
        title="Signal-to-noise ratio",
        caption="On a log scale; the dotted line is where signal and noise are equal.",
        alt="Both fall over eight decades; yours has holes where it is not finite.",
        x_label="timestep t",
        y_label="SNR",
        series=[
            ("reference", "reference", [(t, float(alphas_cumprod[t] / (1 - alphas_cumprod[t]))) for t in ts]),
            ("yours", "yours", [(t, float("inf") if t < 40 else 5e4 / t) for t in ts]),
            ("without the clamp", "other", [(t, 9e3 / (t + 1)) for t in ts]),
        ],
        log_y=True,
        limits=[("equal parts", 1.0)],
    )
    return (
        to_record("add_noise", grid),
        to_record("add_noise", signal),
        to_record("snr_weight", snr),
    )


SHAPE_ERROR = (
    "RuntimeError: The size of tensor a (1000) must match the size of tensor b (1001) at non-singleton dimension 0"
)


def half_right(isolation: str = "full") -> LabResult:
    crash = {
        "outcome": "crashed",
        "message": SHAPE_ERROR,
        "frames": [
            Frame(line=71, function="cosine_schedule", code="return ratios(f)"),
            Frame(line=64, function="ratios", code="    return 1 - f[1:] / f[: T + 1]"),
        ],
    }
    checks = [
        check("linear_schedule", "ends", "The ends are `beta_start` and `beta_end`."),
        check("linear_schedule", "spacing", "Evenly spaced, of shape `(T,)`, float32.", possible=2),
        check("add_noise", "keeps_shape", "Shape and dtype of `x0` are kept."),
        check(
            "add_noise",
            "one_timestep",
            "x_t is `sqrt(ᾱ_t)·x0 + sqrt(1-ᾱ_t)·ε` at one timestep.",
            "failed",
            2,
            message="The values differ in all 384 places.",
            evidence=Evidence(
                call="add_noise(randn(1234, 2, 3, 8, 8), randn(1235, 2, 3, 8, 8), tensor([500, 500]), "
                "linear_betas(1000))",
                where="[0, 0, 0, 0]",
                max_error=2.87,
                in_tolerances=143500.0,
                yours="tensor([ 0.42,  1.31, -0.06, ...], dtype=float32)",
                expected="tensor([-0.93,  0.27,  0.18, ...], dtype=float32)",
            ),
            output="t = tensor([500, 500])\nmean -0.31\n",
        ),
        check(
            "add_noise",
            "own_timestep",
            "Every sample of the batch gets its own timestep's noise level.",
            "failed",
            1,
            visible=False,
            message="The values differ from what is expected.",
        ),
        check(
            "add_noise",
            "half_precision",
            "bfloat16 in, bfloat16 out.",
            "failed",
            1,
            visible=False,
            message="The result is float32 instead of bfloat16.",
            unstable=True,
        ),
        check("predict_x0", "inverts", "Inverts `add_noise`, given the true noise.", possible=3),
        check("cosine_schedule", "shape", "The shape is `(T,)`.", possible=1, **crash),
        check("cosine_schedule", "clipped", "β is clipped at 0.999.", possible=1, visible=False, **crash),
        check(
            "cosine_schedule",
            "paper",
            "Agrees with Nichol & Dhariwal (2021).",
            "timed_out",
            2,
            visible=False,
            message="Still running after 10 s of CPU time; the rest of this task was not run.",
        ),
        check("snr_weight", "plain", "SNR is `ᾱ / (1 - ᾱ)`."),
        check(
            "snr_weight",
            "clips",
            "min-SNR clips at γ = 5.",
            "failed",
            message="212 weights are above 5; the largest is 9999.",
            evidence=Evidence(call="snr_weight(linear_betas(1000), gamma=5.0)", max_error=9994.0),
        ),
        check("velocity", "definition", "v is `sqrt(ᾱ)·ε - sqrt(1-ᾱ)·x0`.", "skipped", 1),
        check("velocity", "back", "x_0 comes back from v and x_t.", "skipped", 1, visible=False),
        check("posterior", "mean", "The posterior mean is that of DDPM, equation 7.", "grader_error", 0, earned=0),
    ]

    def of(id: str) -> list[CheckResult]:
        return [c for c in checks if c.task == id]

    tasks = [
        task("linear_schedule", "Linear noise schedule", of("linear_schedule"), "passed", 21),
        task(
            "add_noise",
            "Jump to any noise level",
            of("add_noise"),
            "partly",
            44,
            diagnosis=Diagnosis(
                misconceptions=[["alpha_not_alpha_bar"]],
                says="Your x_t equals one single noising step: you scale by `alpha_t` where the formula needs the "
                "running product `alpha_bar_t`. So the picture hardly gets noisier as t grows.",
                see=["add-noise"],
            ),
        ),
        task("predict_x0", "Recover x_0", of("predict_x0"), "passed", 58),
        task(
            "cosine_schedule",
            "Cosine schedule",
            of("cosine_schedule"),
            "crashed",
            66,
            diagnosis=Diagnosis(
                misconceptions=[],
                says=f"lab01.py, line 64: {SHAPE_ERROR}. What fails: The shape is `(T,)`.",
                facts=["No known mistake gives your answers.", "It works for inputs of `four` axes only."],
            ),
        ),
        task(
            "snr_weight",
            "Signal-to-noise weights",
            of("snr_weight"),
            "partly",
            80,
            diagnosis=Diagnosis(
                misconceptions=[["clamp_not_kept"], ["clips_from_below", "gamma_squared"]],
                says="The weights are those without clipping: `torch.clamp` returns a new tensor.",
                see=["min-snr", "common-misunderstandings"],
            ),
        ),
        task("velocity", "Velocity target", of("velocity"), "not_started", 92),
        task("posterior", "Posterior of one step", of("posterior"), "ungraded", 101),
    ]
    return result(tasks, checks, pictures=list(pictures()), environment=environment(isolation))


HINTS = {
    "add_noise": [
        "Compare the tensor that you index with `t` to what task 1 returns.",
        "x_t is reached from x_0 in one jump. Which quantity gathers all the steps up to t?",
        "Index `alphas_cumprod`, then reshape it to (B, 1, 1, 1) so that each sample has its own t.",
    ],
    "cosine_schedule": ["f has T + 1 values. How many ratios of neighbours are there?"],
    "velocity": ["Start from the definition in the paper.", "Two terms, one minus sign."],
}


def problem() -> LabResult:
    blank = half_right()
    checks = [
        c.model_copy(
            update={
                "outcome": "skipped",
                "earned": 0.0,
                "message": None,
                "evidence": None,
                "frames": [],
                "output": "",
                "unstable": False,
                "possible": c.possible or 1.0,
            }
        )
        for c in blank.checks
    ]
    tasks = [
        t.model_copy(
            update={
                "earned": 0.0,
                "possible": sum(c.possible for c in checks if c.task == t.id),
                "state": "not_started",
                "diagnosis": None,
                "line": None,
            }
        )
        for t in blank.tasks
    ]
    return result(
        tasks,
        checks,
        problem=Problem(
            kind="syntax_error",
            message="SyntaxError: '(' was never closed\n    x = torch.randn((2, 3)\n                   ^",
            line=52,
        ),
        environment=environment("partial"),
    )


def nothing_at_all() -> LabResult:
    return result(
        [],
        [],
        problem=Problem(kind="missing", message="there is no lab01.py in /home/you. `grade start lab01` writes one."),
        environment=None,
    )


def all_passed() -> LabResult:
    full = half_right()
    checks = [
        c.model_copy(
            update={
                "outcome": "passed",
                "earned": c.possible or 1.0,
                "possible": c.possible or 1.0,
                "message": None,
                "evidence": None,
                "frames": [],
                "output": "",
                "unstable": False,
            }
        )
        for c in full.checks
    ]
    tasks = [task(t.id, t.title, [c for c in checks if c.task == t.id], "passed", t.line or 120) for t in full.tasks]
    return result(tasks, checks, pictures=list(pictures()))


def not_started() -> LabResult:
    empty = problem()
    tasks = [t.model_copy(update={"line": 20 + 10 * i}) for i, t in enumerate(empty.tasks)]
    return empty.model_copy(update={"problem": None, "tasks": tasks, "environment": environment()})


def hostile() -> LabResult:
    """Every text that a student or an author can influence holds markup, and too much of it."""
    bad = "\n".join(XSS)
    frames = [Frame(line=i + 1, function=f"f{x}", code=x) for i, x in enumerate(XSS)] * 60
    checks = [
        check(
            "add_noise",
            f"check_{i}",
            f"Title {x}",
            ("failed", "crashed", "timed_out", "grader_error", "skipped")[i % 5],
            visible=i % 3 != 1,
            message=f"Message {i} {x} {bad}" + "<" * 5_000,
            evidence=Evidence(
                call=x, where=x, max_error=1e300, in_tolerances=1e300, yours=bad + "y" * 9_000, expected=bad
            ),
            frames=frames,
            output=f"{i}\n" + bad + "\n" + ("<&\"'>" * 40 + "\n") * 2_000,
        )
        for i, x in enumerate(XSS)
    ]
    checks.append(check("add_noise", "id <script>alert(1)</script> \"x'", "A check with a strange id", "failed"))
    tasks = [
        task(
            "add_noise",
            bad,
            checks,
            "not_yet",
            7,
            diagnosis=Diagnosis(
                misconceptions=[[x] for x in XSS] + [list(XSS[:2])], says=bad, facts=list(XSS), see=list(XSS)
            ),
        )
    ]
    picture = pictures()[0].model_copy(
        update={"title": bad, "caption": bad, "alt": bad, "rows": [(bad, png) for _, png in pictures()[0].rows]}
    )
    chart = pictures()[2].model_copy(
        update={
            "task": "add_noise",
            "title": bad,
            "caption": bad,
            "alt": bad,
            "x_label": XSS[0],
            "y_label": XSS[1],
            "series": [s.model_copy(update={"label": bad}) for s in pictures()[2].series],
        }
    )
    env = environment("none").model_copy(update={"platform": bad, "sandbox": {XSS[0]: XSS[1], "limits": True}})
    return result(tasks, checks, filename=bad, title=XSS[0], pictures=[picture, chart], environment=env)


SAMPLES = {
    "half_right": half_right,
    "half_right_no_isolation": lambda: half_right("none"),
    "problem": problem,
    "nothing_at_all": nothing_at_all,
    "all_passed": all_passed,
    "not_started": not_started,
    "hostile": hostile,
}
