# expects raised | ptrace, process_vm_readv, pidfd_open and /proc/PID/mem on every process it can name

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
got = []
for pid in {os.getppid(), 1, *range(2, 40)} - {os.getpid()}:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    if libc.ptrace(16, pid, 0, 0) == 0:
        got.append(("attached", pid))
    if libc.process_vm_readv(pid, vector, 1, vector, 1, 0) >= 0:
        got.append(("read", pid))
    if libc.syscall(434, pid, 0) >= 0:
        got.append(("pidfd", pid))
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        got.append(("mem", pid))
    except OSError:
        pass


def step(x):
    raise RuntimeError(f"LEAK {got}" if got else "denied")
