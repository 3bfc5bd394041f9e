"""The 40 submissions, and everything on disk that the peers and alphabar grade them with.

22 are wrong in one place, 16 are right in eight forms, one does not import, one loops in one check. Any first part of
the list is a mix of them.
"""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REFERENCE = (HERE / "lab" / "lab03_reference.py").read_text(encoding="utf-8")
CHECKS = 20
FILE = "lab03.py"
LOOPS, CRASHES = "infinite_loop", "crash_at_import"

LINSPACE = "torch.linspace(beta_start, beta_end, T)"
CUMPROD = "torch.cumprod(1.0 - betas, dim=0)"
ADD = "_b(a.sqrt(), x0) * x0 + _b((1 - a).sqrt(), x0) * noise"
VELOCITY = "_b(a.sqrt(), x0) * noise - _b((1 - a).sqrt(), x0) * x0"
SNR = "acp / (1 - acp)"
RETURN_ADD = "    a = acp[t]\n    return _b(a.sqrt(), x0) * x0"

# (the checks it fails, what it is called, what stands in the reference, what stands there instead)
WRONG = [
    ((1, 2, 3), "schedule_off_by_one", LINSPACE, "torch.linspace(beta_start, beta_end, T + 1)[:-1]"),
    ((1, 2, 3), "scaled_linear", LINSPACE, "torch.linspace(beta_start ** 0.5, beta_end ** 0.5, T) ** 2"),
    ((4, 5, 6), "cumsum", CUMPROD, "torch.cumsum(1.0 - betas, dim=0)"),
    ((4, 6), "cumprod_betas", CUMPROD, "torch.cumprod(betas, dim=0)"),
    ((4, 5), "no_cumprod", CUMPROD, "1.0 - betas"),
    ((7, 8, 9, 10), "no_sqrt", ADD, "_b(a, x0) * x0 + _b(1 - a, x0) * noise"),
    ((7, 8, 9, 10), "swapped", ADD, "_b((1 - a).sqrt(), x0) * x0 + _b(a.sqrt(), x0) * noise"),
    ((7, 8, 9, 10), "no_broadcast", ADD, "a.sqrt() * x0 + (1 - a).sqrt() * noise"),
    ((11, 12, 13), "velocity_swapped", VELOCITY, "_b(a.sqrt(), x0) * x0 - _b((1 - a).sqrt(), x0) * noise"),
    ((11, 12, 13), "velocity_sign", VELOCITY, "_b(a.sqrt(), x0) * noise + _b((1 - a).sqrt(), x0) * x0"),
    ((11, 12, 13), "velocity_flow", VELOCITY, "noise - x0"),
    ((14, 15, 16), "snr_inverse", SNR, "(1 - acp) / acp"),
    ((14, 15), "snr_sqrt", SNR, "(acp / (1 - acp)).sqrt()"),
    ((14, 15), "snr_log", SNR, "torch.log(acp / (1 - acp))"),
    ((17, 18, 19), "ddim_x0", "(x_t - (1 - a).sqrt() * eps) / a.sqrt()", "(x_t - (1 - a) * eps) / a.sqrt()"),
    ((17, 19), "ddim_no_dir", "ap.sqrt() * x0 + (1 - ap).sqrt() * eps", "ap.sqrt() * x0"),
    ((18,), "ddim_last", "acp[t_prev] if t_prev >= 0 else torch.ones_like(a)", "acp[t_prev]"),
    ((14, 15, 16), "snr_none", f"return {SNR}", "pass"),
    ((14, 15, 16), "snr_todo", f"return {SNR}", "raise NotImplementedError"),
    ((4, 5, 6), "list_not_tensor", f"return {CUMPROD}", f"return {CUMPROD}.tolist()"),
    ((20,), "inplace", "return ap.sqrt() * x0", "x_t.zero_(); return ap.sqrt() * x0"),
    ((7, 8, 9, 10), "own_noise", RETURN_ADD, f"    torch.manual_seed(1); noise = torch.randn_like(x0)\n{RETURN_ADD}"),
]
# (what it is called, what stands in the reference, what stands there instead)
RIGHT = [
    ("as_it_is", "", ""),
    ("through_logarithms", CUMPROD, "torch.exp(torch.cumsum(torch.log(1.0 - betas), dim=0))"),
    ("cumprod_as_method", CUMPROD, "(1.0 - betas).cumprod(0)"),
    ("div_as_method", SNR, "acp.div(1 - acp)"),
    ("difference_of_logarithms", SNR, "torch.exp(torch.log(acp) - torch.log1p(-acp))"),
    ("steps_by_hand", LINSPACE, "beta_start + (beta_end - beta_start) * torch.arange(T) / (T - 1)"),
    (
        "unsqueezes_in_a_loop",
        "    return v.reshape(-1, *([1] * (x.dim() - 1)))",
        "    while v.dim() < x.dim():\n        v = v.unsqueeze(-1)\n    return v",
    ),
    ("one_as_number", "torch.ones_like(a)", "torch.tensor(1.0)"),
]
# At t_prev < 0 only, which one check asks for: a limit of 5 s costs 5 s once.
LOOP = ("    a = acp[t]\n    ap =", "    while t_prev < 0:\n        pass\n    a = acp[t]\n    ap =")


@dataclass(frozen=True)
class Submission:
    """One file that is handed in, and the checks that it has to fail, by number."""

    id: str
    name: str
    source: str
    fails: frozenset[int]

    @property
    def passes(self) -> int:
        """How many checks it has to pass."""
        return CHECKS - len(self.fails)


def submissions() -> list[Submission]:
    """Return all 40, in the order in which they are graded."""
    wrong = [(name, REFERENCE.replace(old, new), frozenset(fails)) for fails, name, old, new in WRONG]
    assert all(source != REFERENCE for _, source, _ in wrong), "an edit found nothing to edit"
    right = []
    for number in range(16):
        name, old, new = RIGHT[number % len(RIGHT)]
        source = REFERENCE.replace(old, new) if old else REFERENCE
        right.append((name, f"{source}\n# student {number}\n", frozenset[int]()))
    mixed = []
    while wrong or right:
        mixed += [waiting.pop(0) for waiting in (right, wrong) if waiting]
    missing = f"import torch\nimport lab03_helper_that_only_i_have\n{REFERENCE}"
    mixed.insert(5, (CRASHES, missing, frozenset(range(1, CHECKS + 1))))
    mixed.insert(7, (LOOPS, REFERENCE.replace(*LOOP), frozenset({18})))
    return [Submission(f"s{number:02}", *one) for number, one in enumerate(mixed)]


def write(folder: Path) -> list[Submission]:
    """Write lab, runners, submissions and the alphabar course into `folder`."""
    for name in ("lab", "runners"):  # away from here: pytest would take our pyproject.toml for theirs
        shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    handed_in = submissions()
    for one in handed_in:
        (folder / "submissions" / one.id).mkdir(parents=True)
        (folder / "submissions" / one.id / FILE).write_text(one.source, encoding="utf-8")
    course = folder / "course"
    shutil.copytree(HERE / "course", course, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "templates", course / "templates")
    (course / "reference").mkdir()
    (course / "reference" / "lab03_reference.py").write_text(REFERENCE, encoding="utf-8")
    lab = course / "exercises" / "lab03_noise"
    (lab / "misconceptions.toml").write_text("\n".join(_entry("misconception", *edit) for _, *edit in WRONG))
    inside = [edit for edit in RIGHT if edit[1] and _task(edit[1])]
    (lab / "equivalents.toml").write_text("\n".join(_entry("equivalent", *edit) for edit in inside))
    return handed_in


def _entry(kind: str, name: str, old: str, new: str) -> str:
    """Return one edit as alphabar's manifests hold it: the wrong ones are the mistakes that the diagnosis knows."""
    words = {"find": old, "put": new}
    words["says" if kind == "misconception" else "why"] = f"This is the edit {name}."
    # A JSON string is a TOML string.
    return "\n".join([f"[{_task(old)}.{name}]", *(f"{key} = {json.dumps(word)}" for key, word in words.items()), ""])


def _task(text: str) -> str:
    """Return the public function of the reference that holds `text`, or nothing."""
    for node in ast.parse(REFERENCE).body:
        source = ast.get_source_segment(REFERENCE, node) or ""
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and text in source:
            return node.name
    return ""
