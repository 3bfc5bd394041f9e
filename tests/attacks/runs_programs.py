# expects raised | runs a shell and other programs

import os
import subprocess
import sys

ran = []
for attempt in (
    lambda: subprocess.run(["/bin/sh", "-c", "id"], capture_output=True).returncode == 0,
    lambda: os.system("true") == 0,
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: os.execv(sys.executable or "/bin/true", ["x"]),
):
    try:
        if attempt():
            ran.append(attempt)
    except (OSError, ValueError):
        pass


def step(x):
    raise RuntimeError(f"LEAK {len(ran)} ran" if ran else "denied")
