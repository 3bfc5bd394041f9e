# expects raised | raises its own limits, becomes somebody else, loads another filter

import ctypes
import os
import resource

libc = ctypes.CDLL(None, use_errno=True)
done = []
for attempt in (
    lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 50, 1 << 50)),
    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    lambda: os.setuid(0) if os.getuid() else os.setuid(1),
    lambda: os.setgroups([0]),
    lambda: os.chroot("/"),
    lambda: os.setsid(),
    lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else os.setns(0),
):
    try:
        attempt()
        done.append(attempt)
    except (OSError, ValueError, AttributeError):
        pass
for call in ((165, b"none", b"/tmp", b"tmpfs", 0, 0), (272, 0x10000000), (321, 0, 0, 0), (425, 8, 0), (317, 0, 0, 0)):
    if libc.syscall(*call) >= 0:
        done.append(call)


def step(x):
    raise RuntimeError(f"LEAK {len(done)} worked" if done else "denied")
