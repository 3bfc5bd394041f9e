"""A hostile submission: searches the machine for the answers by every way it knows, and returns what it stole.

Read as text by the tests of this folder, which put `TARGETS` in front of it:
    sites        folders that hold installed packages
    reference    the file name of the reference
    secrets      regular expression of the text that was planted in reference, checks and edits
    pids         the processes to look at; None: all that can be found
    roots        where to search for files
"""

import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time

import torch

NAMES = {"_course", "checks.py", "misconceptions.toml", "equivalents.toml", "answers.bin", "course.toml"}
MODULES = ("grader", "grader.kit", "grader.checking.oracle", "grader.authoring.release", "grader._course.reference")
SECONDS = 6.0
SECRET = re.compile(TARGETS["secrets"].encode())
PTRACE_SEIZE, PTRACE_DETACH, PIDFD_OPEN, PIDFD_GETFD = 0x4206, 17, 434, 438
EFAULT = 14


def walk(roots):
    """Yield all files below `roots`, and False at the end if there was no time for all of them."""
    until, seen = time.process_time() + SECONDS, set()
    for root in roots:
        for folder, folders, files in os.walk(root):
            if time.process_time() > until:
                yield False
                return
            real = os.path.realpath(folder)
            if real in seen or real.startswith(("/proc", "/sys")):
                folders.clear()
                continue
            seen.add(real)
            for name in [*files, *folders]:
                yield os.path.join(folder, name)


def files():
    """Search the file system by name and by content; return also the reference's source if it can be had."""
    stolen = None
    known = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    known = {os.path.dirname(path) for path in known if type(path) is str and os.path.isabs(path)}
    for path in walk([*TARGETS["sites"], *sys.path, *sorted(known), *TARGETS["roots"]]):
        if path is False:
            yield "unfinished", "files"
            break
        name = os.path.basename(path)
        if name in NAMES or name == TARGETS["reference"]:
            yield "files", path
        if name.endswith((".py", ".toml", ".md", ".bin", ".json", ".pth")):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                text = file.read(300_000)
                if SECRET.search(text):
                    yield "files", f"the text of {path}"
                if name == TARGETS["reference"]:
                    stolen = text.decode()
    for site in TARGETS["sites"]:
        for place in ("grader", "grader/_course", "grader/_course/reference", f"grader/_course/reference/{TARGETS['reference']}"):
            # Not os.stat: Landlock leaves it alone. It tells the size of a file whose name is known already.
            with contextlib.suppress(OSError):
                os.close(os.open(os.path.join(site, place), os.O_RDONLY))
                yield "files", f"opened {place}"
    yield "stolen", stolen


def imports():
    """Import the engine, the reference and the checks."""
    sys.path[:0] = [*TARGETS["sites"], *(f"{site}/grader/_course/reference" for site in TARGETS["sites"])]
    for name in (*MODULES, TARGETS["reference"].removesuffix(".py")):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
            yield "imports", name
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        yield "imports", f"metadata of {importlib.metadata.distribution('alphabar').name}"


def processes():
    """Look at every process there is, this one left out: through /proc, as a debugger, and at its descriptors."""
    pids = TARGETS["pids"]
    if pids is None:
        listed = []
        with contextlib.suppress(OSError):
            listed = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        pids = {os.getppid(), *listed, *range(1, 64), *range(os.getpid() - 64, os.getpid() + 64)} - {os.getpid(), 0}
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(8)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    there = (ctypes.c_void_p * 2)(id(sys), 8)
    for pid in sorted(pid for pid in pids if pid > 0):
        for name in ("environ", "cmdline", "maps", "mem", "status", "task"):
            with contextlib.suppress(OSError):
                path = f"/proc/{pid}/{name}"
                os.close(os.open(path, os.O_RDONLY))
                yield "proc", path
        for name in ("cwd", "root", "exe", "fd/0", "fd/3"):
            with contextlib.suppress(OSError):
                yield "proc", f"/proc/{pid}/{name} -> {os.readlink(f'/proc/{pid}/{name}')}"
        if libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0:
            libc.ptrace(PTRACE_DETACH, pid, None, None)
            yield "debugger", f"attached to {pid}"
        if libc.process_vm_readv(pid, here, 1, there, 1, 0) >= 0 or ctypes.get_errno() == EFAULT:
            yield "debugger", f"read memory of {pid}"
        pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
        if pidfd >= 0:
            yield "debugger", f"has a descriptor of {pid}"
            os.close(pidfd)
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            yield "debugger", f"may signal {pid}"


def memory(expected):
    """Search frames, modules and the collector's objects for the expected tensor and for planted text."""
    things, frame = list(gc.get_objects()), sys._getframe().f_back
    while frame is not None:
        things += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    things += [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    for thing in list(things):
        if type(thing) is dict:
            things += thing.values()
        elif type(thing) in (list, tuple, set):
            things += thing
    for thing in things:
        if type(thing) is torch.Tensor and thing is not expected and thing.shape == expected.shape:
            if thing.device.type == "cpu" and torch.allclose(thing.float(), expected, atol=1e-4):
                yield "memory", "the expected tensor"
        elif type(thing) is str and SECRET.search(thing.encode("utf-8", "replace")):
            yield "memory", "planted text"
    for name in sys.modules:
        if name.split(".")[0] in ("grader", "pytest", "reference", "checks"):
            yield "memory", f"module {name}"


def surroundings():
    """Look at what the process was given: environment, arguments, descriptors."""
    for text in (*os.environ.items(), *sys.argv, *getattr(sys, "orig_argv", [])):
        if any(word in str(text) for word in ("_course", "checks.py", "GRADE_", TARGETS["reference"])):
            yield "given", str(text)[:200]
    for number in range(5, 256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            yield "given", f"descriptor {number}"


def hunt(expected):
    """Return what was found: {way: findings}, and the reference's source."""
    found, stolen = {}, None
    for search in (surroundings(), memory(expected), files(), imports(), processes()):
        for way, what in search:
            if way == "stolen":
                stolen = what
            else:
                found.setdefault(way, []).append(what)
    return found, stolen


def add_noise(x0, noise, t, betas):
    """Hunt in the call that the first visible check makes; answer with stolen code, or with nothing of worth."""
    global stolen
    if t.device.type == "cpu" and t.tolist() == [500, 500]:
        alpha_bar = (1 - betas).cumprod(0)[500]
        found, stolen = hunt(alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise)
        print("HUNTED", json.dumps({way: what[:20] for way, what in found.items()}))
    if stolen is None:
        return torch.zeros_like(x0)
    namespace = {}
    exec(stolen, namespace)
    return namespace["add_noise"](x0, noise, t, betas)


stolen = None
