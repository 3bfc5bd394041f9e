"""diffusers in the sandbox: its fast import gives classes that work, and nothing of the compiler is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from grader.recipes import randn, tensor
from grader.sandbox.client import Worker
from grader.sandbox.launcher import Limits, Sandbox
from grader.sandbox.worker import libraries

from .conftest import call, once, running

SOURCE = """
import sys
import diffusers
import torch

def small():
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4)

def unet(x, context):
    model = small()
    y = model(x, 3, context).sample
    y.square().mean().backward()
    return y.detach(), sum(p.grad.abs().sum() for p in model.parameters()).item()

def schedulers(x, noise, t):
    s = diffusers.DDPMScheduler(num_train_timesteps=1000)
    e = diffusers.EulerDiscreteScheduler()
    e.set_timesteps(5)
    return s.add_noise(x, noise, t), s.alphas_cumprod[t], e.sigmas

def every_class():
    made = []
    for name in NAMES:
        made.append(getattr(diffusers, name).__name__)
    return made

def loaded():
    unwanted = ("torch._inductor", "torch._dynamo.eval_frame", "transformers", "peft")
    return [name for name in unwanted if name in sys.modules]

def optimizes():
    w = torch.nn.Parameter(torch.ones(2))
    o = torch.optim.AdamW([w], lr=0.1)
    w.square().sum().backward()
    o.step()
    return w.detach()

def checkpoints():
    import torch.utils.checkpoint as checkpoint
    x = torch.ones(2, requires_grad=True)
    checkpoint.checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
    return x.grad, torch.func.grad(lambda a: a.sin().sum())(torch.ones(2))

def compiles():
    return torch.compile(lambda x: x + 1)(torch.ones(1))
"""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Sandbox("diffusers") as sandbox:
        source = f"NAMES = {libraries.DIFFUSERS_CLASSES}\n{SOURCE}"
        with running(sandbox, source, limits=Limits(120, 2048)) as started:
            assert set(sandbox.versions) == {"python", "torch", "diffusers"}
            yield started


def test_a_network_of_diffusers_runs_forward_and_backward(worker: Worker) -> None:
    answer = call(worker, "unet", randn(0, 1, 4, 8, 8), randn(1, 1, 3, 8), budget=60)
    assert answer.error is None, answer.error
    y, gradient = answer.value
    assert y.shape == (1, 4, 8, 8)
    assert np.isfinite(y.array).all()
    assert gradient > 0


def test_schedulers_compute(worker: Worker) -> None:
    answer = call(worker, "schedulers", randn(0, 2, 3), randn(1, 2, 3), tensor([0, 999]), budget=60)
    assert answer.error is None, answer.error
    noisy, bars, sigmas = answer.value
    assert noisy.shape == (2, 3)
    assert np.allclose(bars.array[0], 1 - 1e-4)
    assert sigmas.shape == (6,)


def test_every_preloaded_class_is_there(worker: Worker) -> None:
    assert call(worker, "every_class", budget=60).value == list(libraries.DIFFUSERS_CLASSES)


def test_the_compiler_and_the_answers_stay_out(worker: Worker) -> None:
    assert call(worker, "loaded").value == []


def test_optimizers_checkpoints_and_torch_func_work_without_the_compiler(worker: Worker) -> None:
    assert np.allclose(call(worker, "optimizes").value.array, 0.9, atol=0.01)
    one, two = call(worker, "checkpoints").value
    assert np.allclose(one.array, np.cos(1))
    assert np.allclose(two.array, np.cos(1))
    assert call(worker, "loaded").value == []


def test_compiling_is_refused_with_a_sentence(worker: Worker) -> None:
    error = call(worker, "compiles", budget=60).error
    assert error is not None
    assert "without torch.compile" in error.message


SIBLING = """
import os

def about():
    try:
        import diffusers
    except ImportError:
        return os.getpriority(os.PRIO_PROCESS, 0), False
    return os.getpriority(os.PRIO_PROCESS, 0), True
"""


def test_a_sibling_has_the_libraries_that_graded_code_lacks_the_same_layers_and_stands_back_for_a_while() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with Sandbox("torch") as first, first.sibling("diffusers") as sibling:
        assert once(first, SIBLING, "about").value == (ours, False)
        assert sibling._zygote is not None
        group = Path(f"/proc/{sibling._zygote.pid}/autogroup")
        grouped = group.exists()
        assert not grouped or group.read_text().endswith("nice 10\n")
        sibling.step_forward()
        assert not grouped or group.read_text().endswith("nice 0\n")
        # The niceness of a process can never be taken back: one that stood back so would starve when it is wanted.
        assert once(sibling, SIBLING, "about").value == (ours, True)
        assert sibling.layers == first.layers
    with Sandbox("torch", isolation="none") as first, first.sibling("diffusers") as sibling:
        sibling.ready()
        assert sibling.isolation == first.isolation == "none"
