# expects raised | forks as often as it can

import os


def step(x):
    made = 0
    for _ in range(300):
        try:
            if os.fork() == 0:
                os._exit(0)
            made += 1
        except OSError:
            pass
    raise RuntimeError(f"LEAK {made} processes" if made else "denied")
