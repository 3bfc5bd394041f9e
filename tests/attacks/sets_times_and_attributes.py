# expects raised | sets times and extended attributes of files, in every way the kernel has

import ctypes
import errno
import os
import platform

import torch

libc = ctypes.CDLL(None, use_errno=True)
done = []
now = os.stat(torch.__file__)
for attempt in (
    lambda: os.utime(torch.__file__, ns=(now.st_atime_ns, now.st_mtime_ns)),
    lambda: os.setxattr(torch.__file__, "user.alphabar", b"1", os.XATTR_REPLACE),
    lambda: os.removexattr(torch.__file__, "user.alphabar"),
):
    try:
        attempt()
        done.append(attempt)
    except OSError as error:
        if error.errno == errno.ENODATA:  # it was let through: only there was nothing to replace
            done.append(attempt)
# utime, utimes, futimesat, utimensat, (l|f)setxattr, (l|f)removexattr, setxattrat, removexattrat, file_setattr
NUMBERS = {"x86_64": (132, 235, 261, 280, 188, 189, 190, 197, 198, 199), "aarch64": (88, 5, 6, 7, 14, 15, 16)}
for number in (*NUMBERS.get(platform.machine(), ()), 463, 466, 469):
    if libc.syscall(number, -1, 1, 1, 1, 1, 1) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        done.append(number)


def step(x):
    raise RuntimeError(f"LEAK {done}" if done else "denied")
