# expects raised | sends SIGKILL to the zygote, to process 1, to everybody and to every pid

import os
import signal

hit = []
for pid in [os.getppid(), 1, -1, 0, *range(2, 400)]:
    if pid == os.getpid():
        continue
    try:
        os.kill(pid, signal.SIGKILL)
        hit.append(pid)
    except OSError:
        pass


def step(x):
    raise RuntimeError(f"LEAK {hit}" if hit else "denied")
