"""The layers that hold one worker, put on from inside between fork and the first line of student code. Linux.

Order matters: descriptors first (later layers forbid opening), then limits, then privileges, Landlock, seccomp. At the
end the kernel is asked what really holds; a layer that was promised and does not hold ends the worker.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 3, 4, 22
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
SECCOMP_MODE_FILTER = 2
SYS_LANDLOCK_RESTRICT_SELF = 446  # the same number on every architecture
CAPABILITIES_V3 = 0x20080522
SIGKILL = 9
PARKED = 100  # descriptors wait above this number until the low ones are free
CHANNEL, TRACES = 3, 4
MAX_FILE = 1 << 20
STACK = 8 << 20  # which no other limit counts as data
MAX_OPEN = 64
MAX_ZYGOTE_OPEN = 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
SMALL = 64 << 10

_libc = ctypes.CDLL(None, use_errno=True)


class LayerMissing(Exception):
    """A layer that the judge reports as active does not hold in this worker."""


@dataclass(frozen=True)
class Guard:
    """What the judge prepared: a compiled filter, a ruleset, and which of them this process must have."""

    seccomp: bytes | None
    tgkill: int
    landlock: int | None


def prctl(option: int, *values: Any) -> int:
    """Call prctl(2); OSError when the kernel refuses."""
    filled = [*values, 0, 0, 0, 0][:4]
    result = _libc.prctl(option, *[ctypes.c_ulong(v) if isinstance(v, int) else v for v in filled])
    return _checked(int(result))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def arrange_descriptors(channel: int, output: int, traces: int, landlock: int | None) -> int | None:
    """Leave 0 empty, 1 and 2 the captured output, 3 the channel, 4 the traces; close all others.

    Returns where the ruleset lies now. All are parked first: a dup2 onto a number that is still needed loses it.
    """
    parked = [fcntl.fcntl(fd, fcntl.F_DUPFD, PARKED) for fd in (channel, output, traces)]
    ruleset = None if landlock is None else fcntl.fcntl(landlock, fcntl.F_DUPFD, PARKED)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (parked[1], 1), (parked[1], 2), (parked[0], CHANNEL), (parked[2], TRACES)):
        os.dup2(source, target)
    if ruleset is not None:
        ruleset = os.dup2(ruleset, TRACES + 1)
    os.closerange(TRACES + (1 if ruleset is None else 2), MAX_ZYGOTE_OPEN)
    return ruleset


def limit_zygote() -> None:
    """Keep every descriptor of the zygote below the number up to which a worker closes them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = MAX_ZYGOTE_OPEN if hard == resource.RLIM_INFINITY else min(hard, MAX_ZYGOTE_OPEN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (bound, bound))


def set_limits(cpu_s: float, memory_mib: int, base_bytes: int) -> None:
    """Bound CPU time, address space beyond `base_bytes`, file size and open files; no core files, no locked memory."""
    seconds = max(1, int(cpu_s + 0.999))
    wanted = {
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_AS": (base_bytes + (memory_mib << 20),) * 2,
        "RLIMIT_STACK": (STACK, STACK),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_FSIZE": (MAX_FILE, MAX_FILE),
        "RLIMIT_NOFILE": (MAX_OPEN, MAX_OPEN),
        "RLIMIT_MEMLOCK": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }
    for name, (soft, hard) in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:  # not every system knows every limit
            continue
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            if name in ("RLIMIT_CPU", "RLIMIT_AS") and hasattr(_libc, "prctl"):
                raise


def fix_allocator() -> None:
    """Let the C library take memory page by page and give it back at once, so that what is alive is what is held."""
    if hasattr(_libc, "mallopt"):
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, SMALL), (M_TRIM_THRESHOLD, SMALL)):
            _libc.mallopt(option, value)
        _libc.malloc_trim(0)


def bound_private_memory(memory_mib: int) -> None:
    """Bound private memory to `memory_mib` beyond what is private now.

    The address space is bounded too: shared mappings count there alone, and here alone what was reserved before.
    """
    bound = private_memory() + (memory_mib << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def private_memory() -> int:
    """Return the bytes that RLIMIT_DATA counts (0 where /proc is missing)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def address_space() -> int:
    """Return the bytes of address space this process has mapped already (0 where /proc is missing)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def drop_capabilities() -> None:
    """Give up every capability, so that root in the worker is nobody special."""
    header = struct.pack("=Ii", CAPABILITIES_V3, 0)
    _checked(_libc.capset(header, b"\0" * 24))


def restrict_files(ruleset: int) -> None:
    """Enforce the Landlock ruleset and drop it."""
    _checked(int(_libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)))
    os.close(ruleset)


def load_filter(program: bytes) -> None:
    """Load one compiled seccomp filter."""
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    body = Program(len(program) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(body))


def own_signals_only(tgkill: int, pid: int) -> bytes:
    """Return a filter that lets tgkill reach this process only: abort() needs it, nobody else's threads do."""
    load_word, jump_equal, give = 0x20, 0x15, 0x06
    allow, deny = 0x7FFF0000, 0x00050000 | errno.EPERM
    steps = [
        (load_word, 0, 0, 0),  # the system call's number
        (jump_equal, 0, 3, tgkill),
        (load_word, 0, 0, 16),  # its first argument
        (jump_equal, 1, 0, pid),
        (give, 0, 0, deny),
        (give, 0, 0, allow),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def die_with(parent: int) -> None:
    """End this process when its parent ends, even if it never reads from the channel again."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        raise LayerMissing("the process that started this one has ended")


def enter(guard: Guard, ruleset: int | None) -> dict[str, bool]:
    """Put on all layers but limits and descriptors, and return what the kernel says holds.

    Raises LayerMissing if a layer that the guard asks for does not hold.
    """
    status = os.open("/proc/self/status", os.O_RDONLY)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    drop_capabilities()
    if ruleset is not None:
        restrict_files(ruleset)
    if guard.seccomp is not None:
        load_filter(own_signals_only(guard.tgkill, os.getpid()))
        load_filter(guard.seccomp)
    held = _held(status)
    os.close(status)
    wanted = {"no_new_privs", "dumpable", "capabilities"}
    wanted |= {"seccomp"} if guard.seccomp is not None else set()
    wanted |= {"landlock"} if ruleset is not None else set()
    for name in sorted(wanted):
        if not held[name]:
            raise LayerMissing(f"the layer {name} did not take hold")
    return {name: held[name] for name in sorted(wanted)}


def _held(status: int) -> dict[str, bool]:
    fields = dict(line.split(":", 1) for line in os.pread(status, 1 << 16, 0).decode().splitlines() if ":" in line)
    return {
        "no_new_privs": fields["NoNewPrivs"].strip() == "1",
        "seccomp": fields["Seccomp"].strip() == "2" and _refused(lambda: os.kill(os.getpid(), 0), errno.EPERM),
        "dumpable": prctl(PR_GET_DUMPABLE) == 0,
        "capabilities": int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0,
        "landlock": _refused(lambda: os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY)), errno.EACCES),
    }


def _refused(attempt: Callable[[], object], code: int) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno == code
    return False
