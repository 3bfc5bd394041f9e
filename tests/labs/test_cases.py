"""Public code on which the judge once was wrong, or had nothing to say: each form with the verdict that is right.

Every case is a file that is right but for one function, graded as a student's file is, for that task alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grader.checking.session import Bench
from grader.course import definition_span, load
from grader.grading import Job, assess, open_bench
from grader.results import LabResult
from grader.submission import parse

COURSE = load(Path(__file__).parents[2])
FULL = object()


@dataclass(frozen=True)
class Case:
    """What a student wrote, and what has to be said of it."""

    task: str
    form: str
    code: str = ""  # the whole function; or
    edits: tuple[tuple[str, str], ...] = ()  # (what stands in the reference, what the student has)
    named: object = None  # FULL marks, the name of the mistake, or None: it fails
    fails: str = ""  # one of the checks that must not pass
    says: str = ""  # words of the sentence that names the mistake
    costs: int = 0  # so many checks and no more; 0: any number

    def source(self, lab: str) -> str:
        """Return the reference with this function in it."""
        reference = COURSE.lab(lab).reference
        start, end = definition_span(reference, self.task, lab)
        code = reference[start:end]
        for find, put in self.edits:
            assert code.count(find) == 1, find
            code = code.replace(find, put)
        return reference[:start] + (self.code.strip("\n") + "\n" if self.code else code) + reference[end:]


def fails(task: str, form: str, *edits: tuple[str, str], named: str | None = None, **more: object) -> Case:
    """A case that must fail, by edits of the right code, under its name where it has one."""
    return Case(task, form, edits=edits, named=named, **more)  # type: ignore[arg-type]


def right(task: str, form: str, *edits: tuple[str, str], code: str = "") -> Case:
    """A case that is right."""
    return Case(task, form, code, edits, named=FULL)


@pytest.fixture(scope="module")
def benches() -> Iterator[dict[str, Bench]]:
    opened = {}
    stacks = []
    try:
        for lab in ("lab01", "lab02", "lab03", "lab06", "lab08", "lab10"):
            stack = open_bench(COURSE.lab(lab), COURSE.seed)
            stacks.append(stack)
            opened[lab] = stack.__enter__()
        yield opened
    finally:
        for stack in stacks:
            stack.__exit__(None, None, None)


def grade(lab: str, case: Case, bench: Bench) -> LabResult:
    submission = parse(case.source(lab).encode(), f"{lab}.py")
    return assess(Job(COURSE.lab(lab), submission, (case.task,)), bench)[0]


def verdict(lab: str, case: Case, bench: Bench) -> None:
    result = grade(lab, case, bench)
    (task,) = [one for one in result.tasks if one.id == case.task]
    lost = [check.id.partition(".")[2] for check in result.checks if check.outcome != "passed"]
    if case.named is FULL:
        assert not lost, [check.message for check in result.checks if check.message]
        return
    assert lost
    assert not case.fails or case.fails in lost
    assert not case.costs or len(lost) == case.costs, lost
    if case.named is not None:
        assert task.diagnosis is not None
        assert task.diagnosis.misconceptions == [[case.named]], task.diagnosis.says
        assert case.says in task.diagnosis.says


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{case.task}: {case.form}" for case in cases])


FOUR = ((".reshape(-1, *[1] * (x0.ndim - 1))", "[:, None, None, None]"),)
VIEW = ((".reshape(-1, *[1] * (x0.ndim - 1))", ".view(-1, 1, 1, 1)"),)
REFUSED = 'raise ValueError(f"no prediction type is called {prediction_type!r}")'
SUBCLASS = "raise type('UnknownType', (ValueError,), {})(prediction_type)"

# A table that is made once: the first call's betas serve all later ones.
ADD_NOISE_KEEPS = """
TABLE = None


def add_noise(x0, noise, t, betas):
    global TABLE
    if TABLE is None:
        TABLE = torch.cumprod(1 - betas, dim=0)
    level = TABLE[t].reshape(-1, *[1] * (x0.ndim - 1))
    return (level.sqrt() * x0 + (1 - level).sqrt() * noise).to(x0.dtype)
"""
WEIGHTS_KEEP = """
SNR = None


def min_snr_weights(t, betas, gamma, prediction_type):
    global SNR
    if SNR is None:
        level = torch.cumprod(1 - betas, dim=0)
        SNR = level / (1 - level)
    snr = SNR[t]
    divisor = {"epsilon": snr, "sample": 1.0, "v_prediction": snr + 1.0}
    if prediction_type not in divisor:
        raise ValueError(prediction_type)
    return snr.clamp(max=gamma) / divisor[prediction_type]
"""
SIGNAL = "torch.sqrt(alpha_bar_t)"
NOISE = "torch.sqrt(1.0 - alpha_bar_t)"

LAB01 = [
    Case("add_noise", "a table of the first call's betas", ADD_NOISE_KEEPS, fails="another_schedule"),
    Case("min_snr_weights", "a table of the first call's betas", WEIGHTS_KEEP, fails="another_gamma_for_v"),
    fails(
        "add_noise",
        "factors rounded to half",
        ("alpha_bar_t = alpha_bar[t]", "level = alpha_bar[t]"),
        (".reshape(-1, *[1] * (x0.ndim - 1))", ""),
        (
            "x_t = torch.sqrt(alpha_bar_t) * x0 + torch.sqrt(1.0 - alpha_bar_t) * noise",
            "a, s = (f.to(x0.dtype)[t].reshape(-1, *[1] * (x0.ndim - 1)) "
            "for f in (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))\n    x_t = a * x0 + s * noise",
        ),
        named="factors_rounded",
        fails="only_the_result_is_rounded",
    ),
    fails(
        "make_betas",
        "ends scaled by 1000/T",
        ("T = num_train_timesteps", "T = num_train_timesteps\n    scale = 1000 / T\n    beta_start *= scale\n"),
        ("return torch.linspace(beta_start, beta_end, T)", "return torch.linspace(beta_start, beta_end * scale, T)"),
        ("math.sqrt(beta_end)", "math.sqrt(beta_end * scale)"),
        named="ends_scaled",
        fails="betas_are_variances",
    ),
    fails(
        "make_betas",
        "a few equal betas",
        ("T = num_train_timesteps", "T = num_train_timesteps\n    if T < 14:\n        return torch.full((T,), 0.01)"),
        fails="betas_are_variances",
    ),
    fails("min_snr_weights", "γ is 5", ("max=gamma", "max=5"), named="gamma_is_5"),
    fails(
        "training_loss",
        "backward inside",
        ("return losses.mean()", "loss = losses.mean()\n    loss.backward(retain_graph=True)\n    return loss"),
        named="leaves_a_gradient",
        costs=1,
    ),
    fails("training_loss", "backward inside, graph and all", ("return losses.mean()", "losses.mean().backward()")),
    fails(
        "make_betas",
        '"linear" in kind',
        ('if kind == "linear":', 'if "linear" in kind and "scaled" not in kind:'),
        named="takes_similar_kinds",
    ),
    fails(
        "make_betas",
        "kind.lower()",
        ("T = num_train_timesteps", "T = num_train_timesteps\n    kind = kind.lower()"),
        named="takes_similar_kinds",
        costs=1,
    ),
    fails(
        "training_target",
        "prediction_type.lower()",
        (
            'if prediction_type == "sample":',
            'prediction_type = prediction_type.lower()\n    if prediction_type == "sample":',
        ),
        ('if prediction_type == "epsilon":', 'if prediction_type.lower() == "epsilon":'),
        named="takes_similar_types",
        costs=1,
    ),
    fails(
        "training_loss",
        "an unknown type with γ",
        (REFUSED, "if min_snr_gamma is None:\n            raise ValueError(prediction_type)\n        target = noise"),
        ("[prediction_type]", ".get(prediction_type, snr)"),
        named="takes_any_type",
        costs=1,
    ),
    right("training_target", "a subclass of ValueError", (REFUSED, SUBCLASS)),
    right(
        "make_betas",
        "a subclass of ValueError",
        ('raise ValueError(f"no schedule', 'raise type("No", (ValueError,), {})(f"no schedule'),
    ),
    right(
        "checkpoint_factors",
        "an np.float64",
        code="def checkpoint_factors():\n    import numpy as np\n\n    return np.sqrt(0.36), np.sqrt(0.64)\n",
    ),
    right(
        "add_noise",
        "x0.device == t.device",
        ("alphas = 1.0", "assert x0.device == t.device == betas.device\n    alphas = 1.0"),
    ),
    right("add_noise", "prints a number", ("return x_t.to", "print(x_t, x_t.mean().item())\n    return x_t.to")),
    # Words.
    fails(
        "zero_terminal_snr",
        "the first factor lost on the way back",
        ("alpha_bar[:1],", "torch.ones(1),"),
        named="first_becomes_one",
        says="or its first value was lost on the way back",
    ),
    fails("make_betas", "another cap", ("max=0.999", "max=0.9999"), named="no_cap", says="or another one"),
    fails("make_betas", "cut from below too", ("max=0.999", "1e-4, 0.9999"), named="no_cap", says="or a floor as well"),
    fails("training_loss", "t.float()", ("model(x_t, t)", "model(x_t, t.float())"), named="t_as_float", costs=1),
    Case("checkpoint_factors", "a wrong prediction", "def checkpoint_factors():\n    return 0.5, 0.5\n"),
    fails(
        "add_noise",
        "under no_grad",
        ("def add_noise(", "@torch.no_grad()\ndef add_noise("),
        named="no_gradient",
        costs=1,
    ),
    fails(
        "training_loss",
        "under no_grad",
        ("prediction = model(x_t, t)", "with torch.no_grad():\n        prediction = model(x_t, t)"),
        named="no_gradient",
    ),
    fails("add_noise", "noise of its own", ("* noise", "* torch.randn_like(x0)"), named="draws_noise"),
    fails(
        "make_betas",
        "None for an unknown kind",
        ('raise ValueError(f"no schedule is called {kind!r}")', "return None"),
        named="takes_any_kind",
        says="is not refused",
    ),
    # Near variants of what has a name.
    fails("add_noise", "(t - 1).clamp(0)", ("alpha_bar[t]", "alpha_bar[(t - 1).clamp(0)]"), named="t_minus_1"),
    fails(
        "add_noise",
        "a table that begins at 1",
        ("torch.cumprod(alphas, dim=0)", "torch.cat([torch.ones_like(alphas[:1]), torch.cumprod(alphas, dim=0)])"),
        named="t_minus_1",
    ),
    fails(
        "make_betas",
        "falls back to the cosine",
        ('if kind == "squaredcos_cap_v2":', "if True:"),
        named="takes_any_kind",
    ),
    fails(
        "noise_levels",
        "1 − cumprod(β)",
        ("torch.cumprod(1.0 - betas, dim=0)", "1.0 - torch.cumprod(betas, dim=0)"),
        named="cumprod_of_beta",
    ),
    # Rejected before, and without a name.
    *[
        fails(task, f"four axes by {how}", *edits, named="four_axes_only")
        for task in ("add_noise", "training_target", "flow_matching_pair", "training_loss")
        for how, edits in (("None", FOUR), ("view", VIEW))
    ],
    fails(
        "make_betas",
        "linear in √β",
        (
            "return torch.linspace(beta_start, beta_end, T)",
            "return torch.linspace(beta_start**0.5, beta_end**0.5, T).square()",
        ),
        named="linear_in_roots",
    ),
    fails(
        "training_target",
        "tables cast to half",
        ("torch.cumprod(1.0 - betas, dim=0)", "torch.cumprod(1.0 - betas, dim=0).to(x0.dtype)"),
        named="v_factors_in_half",
    ),
    fails(
        "training_target",
        "factors of v exchanged",
        (f"{SIGNAL} * noise - {NOISE} * x0", f"{NOISE} * noise - {SIGNAL} * x0"),
        named="v_factors_swapped",
    ),
    fails(
        "training_loss",
        "v against ε",
        ("target = signal * noise - sigma * x0", "target = noise"),
        named="v_against_noise",
    ),
    fails(
        "training_loss",
        "weights without γ",
        ("if min_snr_gamma is not None:", "min_snr_gamma = min_snr_gamma or 5.0\n    if True:"),
        named="weights_without_gamma",
    ),
    Case(
        "min_snr_weights",
        "min(γ/SNR, 1) for every type",
        """
def min_snr_weights(t, betas, gamma, prediction_type):
    level = torch.cumprod(1 - betas, dim=0)[t]
    return torch.clamp(gamma * (1 - level) / level, max=1)
""",
        named="epsilon_for_every_type",
    ),
    fails(
        "flow_matching_pair", "the target is the data", ("target = noise - x0", "target = x0"), named="target_is_data"
    ),
]


@named(LAB01)
def test_lab01(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab01", case, benches["lab01"])


LAB02 = [
    fails(
        "ddpm_step",
        "noise from t = 2 on",
        ("if t_prev < 0:", "if t_prev < 0 or t <= 1:"),
        named="noise_stops_too_early",
    ),
    fails(
        "ddpm_step",
        "noise from t = 5 on",
        ("if t_prev < 0:", "if t_prev < 0 or t <= 4:"),
        named="noise_stops_too_early",
    ),
    fails("ddpm_step", "the clean end told by t", ("if t_prev >= 0 else", "if t > 0 else"), named="end_told_by_t"),
    fails(
        "ddpm_step",
        "the predicted noise for the step's own",
        ("torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)", "model_output"),
        named="noise_is_the_prediction",
    ),
    right(
        "ddpm_step",
        "another name for the jump's beta",
        ("beta_t = 1.0 - alpha_t", "beta_t = 1.0 - alpha_bar_t / alpha_bar_prev"),
    ),
]


@named(LAB02)
def test_lab02(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab02", case, benches["lab02"])


LAB03 = [
    fails(
        "DPMpp2M",
        "first order for the last two steps",
        ("h.isinf():", "i >= len(lambda_t) - 3:"),
        named="two_first_order_steps_at_the_end",
    ),
    fails(
        "DPMpp2M", "x0 clamped", ("/ alpha_t[i]\n", "/ alpha_t[i]\n        x0 = x0.clamp(-1, 1)\n"), named="clamps_x0"
    ),
    fails("DPMpp2M", "without ++", ("(-h).expm1() * D", "(-h).expm1() * x0"), named="always_first_order"),
]


@named(LAB03)
def test_lab03(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab03", case, benches["lab03"])


SCALED = "latents = noise * scheduler.init_noise_sigma"
SET = "scheduler.set_timesteps(steps)"
GUIDED = "prediction = prediction_uncond + guidance_scale * (prediction_cond - prediction_uncond)"
LAB06 = [
    fails(
        "denoise_loop",
        "only the last result detached",
        ("with torch.no_grad():", "if True:"),
        ("return latents", "return latents.detach()"),
        named="keeps_graph",
        costs=1,
    ),
    right(
        "denoise_loop",
        "each prediction detached",
        ("with torch.no_grad():", "if True:"),
        ("context).sample", "context).sample.detach()"),
    ),
    fails(
        "denoise_loop",
        "the conditional twice",
        ("torch.cat([uncond, cond])", "torch.cat([cond] * 2)"),
        named="cond_twice",
    ),
    fails(
        "denoise_loop",
        "init_noise_sigma before set_timesteps",
        (f"{SET}\n    {SCALED}", f"{SCALED}\n    {SET}"),
        named="sigma_before_timesteps",
    ),
    fails(
        "denoise_loop",
        "two steps a branch",
        (
            GUIDED,
            "latents = scheduler.step(prediction_uncond, t, latents)[0]\n            prediction = prediction_cond",
        ),
        named="step_per_branch",
    ),
    fails("denoise_loop", "guidance at 1", ("guidance_scale > 1", "guidance_scale >= 1"), named="cfg_always", costs=1),
    fails(
        "denoise_loop",
        "an assertion in place of the refusal",
        ("if cond.shape != uncond.shape:", "assert cond.shape == uncond.shape\n    if False:"),
        costs=1,
    ),
    fails(
        "read_pipeline",
        "512 by heart",
        ('"image_hw": (h * factor, w * factor)', '"image_hw": (512, 512)'),
    ),
    fails(
        "read_pipeline",
        "the VAE's sample_size for both sides",
        ('"image_hw": (h * factor, w * factor)', '"image_hw": (vae["sample_size"], vae["sample_size"])'),
        named="size_of_the_vae",
    ),
    fails(
        "prepare_latents",
        "one generator for the batch, drawn picture by picture",
        ("noise = [torch", "generator = torch.Generator().manual_seed(seeds[0])\n    noise = [torch"),
        ("generator=torch.Generator().manual_seed(seed), ", "generator=generator, "),
        named="one_generator",
    ),
    fails(
        "img2img_start",
        "rounded up",
        ("int(steps * strength)", "-int(-(steps * strength) // 1)"),
        named="rounds",
    ),
    fails(
        "latents_to_image",
        "numpy's astype cuts off",
        (
            "return (unit * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)",
            "array = (unit * 255).permute(0, 2, 3, 1).numpy().astype('uint8')\n    return torch.from_numpy(array)",
        ),
        named="truncates",
    ),
    fails(
        "swap_scheduler",
        "overrides merged into the config",
        (
            "new_cls.from_config(old_scheduler.config, **overrides)",
            "new_cls.from_config(dict(old_scheduler.config) | overrides)",
        ),
        named="overrides_taken_for_defaults",
    ),
    fails(
        "dit_sample",
        "1000 written out, as in DiTPipeline",
        ("torch.full_like(labels, model.config.num_embeds_ada_norm)", "torch.tensor([1000] * len(labels))"),
        named="always_1000",
    ),
    right(
        "dit_sample",
        "scaled before it is doubled",
        (
            "model_input = torch.cat([latents, latents]) if guided else latents",
            "model_input = scheduler.scale_model_input(latents, t)",
        ),
        (
            "model_input = scheduler.scale_model_input(model_input, t)",
            "model_input = model_input.repeat(2, 1, 1, 1) if guided else model_input",
        ),
    ),
    fails(
        "inpaint_step",
        "`if t_next`",
        (
            "image_latents if t_next is None else scheduler.add_noise(image_latents, noise, t_next[None])",
            "scheduler.add_noise(image_latents, noise, t_next[None]) if t_next else image_latents",
        ),
        named="zero_is_the_end",
    ),
    right(
        "inpaint_step",
        "chosen by a boolean mask",
        ("return (1.0 - hole) * kept + hole * latents", "return torch.where(hole.bool(), latents, kept)"),
    ),
]


@named(LAB06)
def test_lab06(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab06", case, benches["lab06"])


# Exceptions for each name that contains an underscore, as a library has them: complete for the names it was made for.
KOHYA_BY_EXCEPTIONS = """
def convert_kohya(sd, module_names):
    def name(module):
        module = module.removeprefix("lora_unet_").replace("_", ".")
        for part in ("down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out"):
            module = module.replace(part.replace("_", "."), part)
        for part in ("proj_in", "proj_out", "time_emb_proj", "conv_in"):
            module = module.replace(part.replace("_", "."), part)
        return module

    weights, alphas, halves = {}, {}, {}
    for key, value in sd.items():
        module, _, part = key.partition(".")
        if name(module) not in module_names or part not in ("alpha", "lora_down.weight", "lora_up.weight"):
            raise ValueError(key)
        halves.setdefault(name(module), {})[part] = value
    for module, found in halves.items():
        if "lora_down.weight" not in found or "lora_up.weight" not in found:
            raise ValueError(module)
        A = weights[f"unet.{module}.lora_A.weight"] = found["lora_down.weight"]
        weights[f"unet.{module}.lora_B.weight"] = found["lora_up.weight"]
        alphas[f"unet.{module}.alpha"] = float(found.get("alpha", len(A)))
    return {"weights": weights, "alphas": alphas}
"""
START = "torch.empty(r, in_features).uniform_(-bound, bound, generator=generator)"
LAB08 = [
    fails(
        "lora_init",
        "a Linear's own start",
        (START, "nn.Linear(in_features, r, bias=False).weight.detach()"),
        named="ignores_the_generator",
    ),
    right(
        "lora_init",
        "rows in another order, drawn too",
        (START, f"{START}[torch.randperm(r, generator=generator)]"),
    ),
    fails(
        "inject_lora",
        "re.search",
        ('name == target or name.endswith("." + target)', "__import__('re').search(target, name)"),
        named="contains",
    ),
    fails(
        "inject_lora",
        "frozen afterwards, but for names with lora in them",
        ("    model.requires_grad_(False)\n", ""),
        (
            "    return sorted(chosen)",
            "    for key, p in model.named_parameters():\n        p.requires_grad_('lora' in key)\n"
            "    return sorted(chosen)",
        ),
        named="freezes_last",
    ),
    right(
        "inject_lora",
        "replaced while walking",
        ("for name in sorted(chosen):", "for name, _ in [one for one in model.named_modules() if one[0] in chosen]:"),
    ),
    Case("convert_kohya", "a list of exceptions", KOHYA_BY_EXCEPTIONS, fails="every_kind_of_name"),
    fails(
        "dora_linear",
        "normalize",
        ("(m.float() / norm)[:, None].mul(V).T", "(m.float()[:, None] * torch.nn.functional.normalize(V, dim=1)).T"),
        named="norm_in_the_graph",
    ),
    fails(
        "combine_adapters",
        "alpha or r",
        ("1.0 if alpha is None else alpha / r", "(alpha or 1) / r"),
        named="alpha_or_1",
    ),
]


@named(LAB08)
def test_lab08(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab08", case, benches["lab08"])


def attention(product: str, mode: str = "torch.inference_mode", buffer: bool = False) -> str:
    """Right chunked attention with its products written in one way; a zeroed buffer loses the last, shorter chunk."""
    scores, out = {
        "@": ("p @ k.mT", "w @ v"),
        "matmul": ("torch.matmul(p, k.mT)", "torch.matmul(w, v)"),
        "einsum": ("torch.einsum('bhqd,bhkd->bhqk', p, k)", "torch.einsum('bhqk,bhkd->bhqd', w, v)"),
        "bmm": (
            "torch.bmm(p.flatten(0, 1), k.flatten(0, 1).mT).unflatten(0, p.shape[:2])",
            "torch.bmm(w.flatten(0, 1), v.flatten(0, 1)).unflatten(0, p.shape[:2])",
        ),
    }[product]
    rounds = "q.shape[2] // chunk" if buffer else "-(-q.shape[2] // chunk)"
    return f"""
@{mode}()
def query_chunked_attention(q, k, v, chunk):
    out = torch.zeros_like(q)
    for i in range({rounds}):
        p = q[:, :, i * chunk : (i + 1) * chunk]
        w = ({scores} / p.shape[-1] ** 0.5).softmax(-1)
        out[:, :, i * chunk : (i + 1) * chunk] = {out}
    return out
"""


WHOLE = """
def query_chunked_attention(q, k, v, chunk):
    return torch.cat([(p @ k.mT / p.shape[-1] ** 0.5).softmax(-1) @ v for p in {chunks}], 2)
"""
LAB10 = [
    *[
        right("query_chunked_attention", f"{product} under {mode}", code=attention(product, mode))
        for product in ("@", "matmul", "einsum", "bmm")
        for mode in ("torch.inference_mode", "torch.no_grad")
    ],
    Case(
        "query_chunked_attention",
        "torch.chunk",
        WHOLE.format(chunks="torch.chunk(q, chunk, 2)"),
        named="chunk_is_a_count",
    ),
    Case("query_chunked_attention", "always 16", WHOLE.format(chunks="q.split(16, 2)"), named="chunk_is_ignored"),
    Case(
        "query_chunked_attention",
        "always √N",
        WHOLE.format(chunks="q.split(int(q.shape[2] ** 0.5), 2)"),
        named="chunk_is_ignored",
    ),
    Case(
        "query_chunked_attention",
        "N // chunk rounds over a zeroed buffer",
        attention("@", "torch.no_grad", buffer=True),
        named="droptail",
        says="or left at zero",
    ),
]


@named(LAB10)
def test_lab10(case: Case, benches: dict[str, Bench]) -> None:
    verdict("lab10", case, benches["lab10"])


@pytest.mark.parametrize("seed", ["1", "2", "3", "4", "5"])
def test_a_fixed_gamma_fails_on_every_seed(seed: str, benches: dict[str, Bench]) -> None:
    bench = benches["lab01"]
    before, bench.course_seed = bench.course_seed, seed
    sample = (
        'return capped\n    if prediction_type == "epsilon"',
        'return snr.clamp(max=5)\n    if prediction_type == "epsilon"',
    )
    try:
        verdict("lab01", fails("min_snr_weights", "γ is 5 for sample", sample, named="gamma_is_5", costs=1), bench)
    finally:
        bench.course_seed = before


def test_a_prediction_is_neither_praised_nor_given_away(benches: dict[str, Bench]) -> None:
    result = grade("lab01", next(case for case in LAB01 if case.form == "a wrong prediction"), benches["lab01"])
    (check,) = result.checks
    assert check.title == "Prediction: the two factors at t = 1."
    assert check.message == "Not yet. Which steps have been taken at t = 1?"
