"""A worker that the kernel holds to a few MiB: every right way of attending in chunks fits, no other does."""

import errno
import sys

import pytest

from grader.recipes import randn
from grader.sandbox.client import Budget
from grader.sandbox.launcher import Limits, Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits are Linux's")

LIMIT = 10  # MiB. All scores of 2304 x 2304 float32 are 20.

# Measured on x86-64 with torch 2.13: the limit, in MiB, from which on each runs.
RIGHT = {
    "a list and cat, 12": "@|softmax",
    "einsum, 12": "einsum|softmax",
    "softmax by hand, 13": "@|by_hand",
    "inference mode, 12": "@|softmax|inference",
    "a buffer and out=, 11": "@|softmax|out",
}
CHUNKED = """
import torch
from torch import einsum

def softmax(s):
    return s.softmax(-1)

def by_hand(s):
    e = (s - s.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)

def f(q, k, v, chunk):
    way = {way!r}.split("|")
    with torch.inference_mode("inference" in way):
        buffer = torch.empty_like(q)
        outs = []
        for start in range(0, q.shape[2], chunk):
            rows = q[:, :, start : start + chunk]
            scores = einsum("bhnd,bhmd->bhnm", rows, k) if way[0] == "einsum" else rows @ k.transpose(-2, -1)
            weights = globals()[way[1]](scores / q.shape[-1] ** 0.5)
            if "out" in way:
                torch.matmul(weights, v, out=buffer[:, :, start : start + chunk])
            else:
                outs.append(weights @ v)
        return buffer if "out" in way else torch.cat(outs, 2)
"""
WRONG = {
    "all scores, 136": "return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v",
    "all scores in place, 66": """s = q @ k.transpose(-2, -1)
    s /= q.shape[-1] ** 0.5
    s -= s.amax(-1, keepdim=True)
    s.exp_()
    s /= s.sum(-1, keepdim=True)
    return s @ v""",
    "hidden in numpy, 200": """import numpy as np
    s = q.numpy() @ k.numpy().swapaxes(-1, -2) / q.shape[-1] ** 0.5
    s = np.exp(s - s.max(-1, keepdims=True))
    return torch.from_numpy(s / s.sum(-1, keepdims=True) @ v.numpy())""",
    "a shared mapping, 136": """import mmap
    s = torch.frombuffer(mmap.mmap(-1, 2304 * 2304 * 4), dtype=torch.float32).view(2304, 2304)
    torch.matmul(q[0, 0], k[0, 0].T, out=s)
    s /= q.shape[-1] ** 0.5
    return s.softmax(-1)[None, None] @ v""",
    "a buffer made at import, 136": "return torch.matmul(torch.matmul(q, k.mT, out=BUFFER).softmax(-1), v)",
    "in another thread, 160": """import threading
    found = []
    one = threading.Thread(target=lambda: found.append((q @ k.transpose(-2, -1)).softmax(-1) @ v))
    one.start()
    one.join()
    return found[0]""",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox("torch", start_method="fork") as sandbox:
        yield sandbox


def run(sandbox, source, memory_mib=LIMIT):
    worker = sandbox.worker(source.encode(), "lab10.py", scenarios=None, limits=Limits(60, memory_mib, tight=True))
    try:
        loaded = worker.load(Budget(60))
        if loaded.error:
            return loaded
        inputs = [randn(seed, 1, 1, 2304, 8) for seed in range(3)]
        worker.ask({"op": "call", "function": "f", "args": [*inputs, 32], "kwargs": {}})
        return worker.answer(Budget(60))
    finally:
        worker.close()


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_way_takes_no_more_than_half_of_the_limit(sandbox, way):
    answer = run(sandbox, CHUNKED.replace("{way!r}", repr(RIGHT[way])), LIMIT // 2)
    assert answer.error is None and answer.value.shape == (1, 1, 2304, 8)


@pytest.mark.parametrize("way", WRONG)
def test_a_wrong_way_does_not_fit_into_twice_the_limit(sandbox, way):
    buffer = "BUFFER = torch.empty(1, 1, 2304, 2304)\n" if "BUFFER" in WRONG[way] else ""
    answer = run(sandbox, f"import torch\n{buffer}\n\ndef f(q, k, v, chunk):\n    {WRONG[way]}\n", 2 * LIMIT)
    assert answer.error is not None


def test_the_sentence_says_the_limit(sandbox):
    answer = run(sandbox, "import torch\n\ndef f(q, k, v, chunk):\n    return q @ k.mT @ v\n")
    assert answer.error is not None and answer.error.message == "used more than 10 MiB of memory"


# Over the library's own code, which is mapped already, so that the address space does not grow; and shared memory does
# not count as private.
OVER_WHAT_IS_MAPPED = """
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


class Library(ctypes.Structure):
    _fields_ = [("address", ctypes.c_uint64), ("name", ctypes.c_char_p)]


def f(q, k, v, chunk):
    found = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Library), ctypes.c_size_t, ctypes.c_void_p)
    def look(library, size, data):
        if b"libtorch_cpu" in (library.contents.name or b""):
            found.append(library.contents.address)
        return 0

    libc.dl_iterate_phdr(look, None)
    fixed, shared, anonymous = 0x10, 0x01, 0x20
    libc.mmap(found[0] + (120 << 20), 64 << 20, 3, fixed | shared | anonymous, -1, 0)
    return ctypes.get_errno()
"""


def test_no_memory_is_shared_from_within(sandbox):
    answer = run(sandbox, OVER_WHAT_IS_MAPPED)
    assert answer.value == errno.EPERM, answer.error
