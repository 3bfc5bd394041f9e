# expects raised | wants to outlive the zygote, to be traced, to be the parent of others

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
# PR_SET_PDEATHSIG 0, PR_SET_DUMPABLE 1, PR_SET_PTRACER anyone, PR_SET_CHILD_SUBREAPER, PR_SET_KEEPCAPS
CALLS = ((1, 0), (4, 1), (0x59616D61, -1), (36, 1), (8, 1), (1 | 1 << 32, 0))
done = [call for call in CALLS if libc.prctl(ctypes.c_ulong(call[0]), ctypes.c_ulong(call[1]), 0, 0, 0) == 0]
libc.prctl(15, b"a name", 0, 0, 0)


def step(x):
    raise RuntimeError(f"LEAK {done}" if done else "denied")
