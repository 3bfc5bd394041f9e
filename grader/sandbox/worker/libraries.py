"""Makes the allow-listed libraries importable, and imports them. Runs in the zygote, or in a worker that stands alone.

`sys.path` holds the standard library and the private folder only. Each library comes from its own folder through the
finder below, so nothing else that lies beside it in `site-packages` can be imported, or even listed by imports.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import mmap
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType, SimpleNamespace
from typing import Any

# Importing these pulls in what the labs use; everything else of diffusers stays lazy.
DIFFUSERS_CLASSES = (
    "UNet2DConditionModel",
    "AutoencoderKL",
    "ControlNetModel",
    "DiTTransformer2DModel",
    "DDPMScheduler",
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)

NO_COMPILER = "graded code runs without torch.compile"


class Distribution(importlib.metadata.Distribution):
    """A library's name and version: all that libraries ask about each other."""

    def __init__(self, name: str, version: str) -> None:
        """Keep both."""
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        """Return the metadata; there are no other files."""
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        """Return the path as it is."""
        return path


class LibraryFinder:
    """Finds the top-level modules in `places`, and nothing else."""

    def __init__(self, places: dict[str, str], versions: dict[str, str]) -> None:
        """Take the file that each module's import runs, and the versions of the distributions."""
        self._places = places
        self._versions = versions

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a top-level module lies."""
        if name.startswith("torch._dynamo.") and sys.modules["torch._dynamo"].__spec__ is None:
            raise ImportError(f"{NO_COMPILER} ({name} was asked for)")
        place = self._places.get(name) if path is None else None
        if place is None:
            return None
        if not place.endswith("__init__.py"):
            return spec_from_file_location(name, place)
        return spec_from_file_location(name, place, submodule_search_locations=[place.removesuffix("/__init__.py")])

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        """Yield the distribution that is asked for."""
        wanted = getattr(context, "name", None)
        for name, version in self._versions.items():
            if wanted is None or _normal(wanted) == _normal(name):
                yield Distribution(name, version)

    def invalidate_caches(self) -> None:
        """Do nothing: nothing is cached. The import system asks every finder."""


def _normal(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def install(places: dict[str, str], versions: dict[str, str]) -> None:
    """Make the libraries importable in this process."""
    sys.meta_path.insert(0, LibraryFinder(places, versions))


def load(profile: str) -> dict[str, str]:
    """Import what the profile names and return the versions to report."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    versions = {"python": sys.version.split()[0], "torch": str(torch.__version__)}
    sys.modules["torch._dynamo"] = stand_in()
    if profile == "diffusers":
        versions["diffusers"] = load_diffusers(DIFFUSERS_CLASSES)
    return versions


def load_diffusers(names: Sequence[str]) -> str:
    """Import diffusers and the classes `names`, and return its version.

    If this version wants more of `torch._dynamo` than the stand-in has, diffusers is imported the plain way.
    """
    before = set(sys.modules)
    try:
        return _import_diffusers(names)
    except (ImportError, AttributeError, RuntimeError):
        sys.modules.pop("torch._dynamo", None)
        for name in [name for name in sys.modules if name not in before and name.startswith("diffusers")]:
            del sys.modules[name]
        return _import_diffusers(names)


def _import_diffusers(names: Sequence[str]) -> str:
    diffusers = importlib.import_module("diffusers")
    for name in names:
        getattr(diffusers, name, None)  # a lazy module: the attribute is the import; an absent one is the lab's affair
    return str(diffusers.__version__)


class AllOff:
    """The compiler's switches, each of them off; checkpointing looks at one."""

    def __getattr__(self, name: str) -> bool:
        """Return False."""
        return False


def stand_in() -> ModuleType:
    """Return a module to stand where `torch._dynamo` would: importing that takes longer than all of diffusers.

    diffusers wants one decorator of it, the first operation on a meta tensor another; optimizers, checkpointing and
    torch.func ask it to stay out of the way. Nothing is compiled in a worker: there is no compiler to be had and no
    folder to write to, so torch.compile is refused with a sentence.
    """
    module = ModuleType("torch._dynamo")
    module.__path__ = []

    def unchanged(function: Any = None, *args: Any, **kwargs: Any) -> Any:
        return function if function is not None else (lambda later: later)

    def refuse(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"{NO_COMPILER} (torch._dynamo.{name} was asked for)")

    for name in ("allow_in_graph", "disable", "disallow_in_graph", "graph_break", "mark_dynamic"):
        setattr(module, name, unchanged)
    module.is_compiling = lambda: False  # type: ignore[attr-defined]
    module.config = AllOff()  # type: ignore[attr-defined]
    module.compiled_autograd = SimpleNamespace(_disable=contextlib.nullcontext)  # type: ignore[attr-defined]
    module.__getattr__ = refuse  # type: ignore[method-assign]
    return module


def warm_up(*, meta_device: bool) -> None:
    """Run one small operation of each kind, so that workers inherit what torch sets up lazily. One thread only.

    The first operation on a meta tensor imports sympy, a quarter of a second: only for labs that use the device.
    """
    import torch

    from . import serve
    from .codec import Encoder, decode
    from .meter import Meter

    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.conv2d(x, torch.ones(4, 4, 3, 3, requires_grad=True), padding=1)
    mean = (torch.nn.functional.silu(torch.nn.functional.group_norm(y, 2)) * 0.5 + 1).mean()
    # A build for accelerators asks their driver before it goes backward, which starts a thread: no fork after that.
    if torch.version.cuda is None and torch.version.hip is None:
        mean.backward()
    torch.nn.functional.scaled_dot_product_attention(x, x, x)
    with Meter():
        (x[0, 0] @ x[0, 1]).sum()
    (x[0, 0] @ x[0, 1]).softmax(-1).cumsum(0).cumprod(0)
    torch.nn.functional.linear(x, torch.ones(3, 8)).to(torch.bfloat16).sum()
    torch.arange(4).float().sqrt().view(2, 2)[torch.tensor([0, 1])]
    if meta_device:
        torch.empty(2, device="meta") * 2
    request = {"op": "call", "function": "f", "args": [{"$recipe": ["randn", [0, 2, 3], {}]}], "at": 0}
    worker = serve.Worker(region=mmap.mmap(-1, 4096))
    worker.load("warm_up.py", "submission", b"def f(x):\n    return x * 2\n")
    worker.answer(request, b"", Encoder())
    worker.answer({"op": "call", "function": "g", "args": []}, b"", Encoder())
    decode([1], [])
    del sys.modules["warm_up"]
