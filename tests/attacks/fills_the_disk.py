# expects raised | writes wherever it may

import os
import sys

wrote = []
private = [p for p in sys.path if "alphabar" in p]
for folder in ("/tmp", "/dev/shm", "/var/tmp", ".", "/run", "/", "/dev", "/proc/self", *private):
    try:
        with open(os.path.join(folder, "fill"), "wb") as file:
            file.write(b"0" * (1 << 22))
        wrote.append(folder)
    except OSError:
        pass
    try:
        os.mkdir(os.path.join(folder, "made"))
        wrote.append(folder)
    except OSError:
        pass


def step(x):
    raise RuntimeError(f"LEAK {wrote}" if wrote else "denied")
