# expects timed_out | ignores every signal that can be ignored and sleeps

import signal
import time

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass


def step(x):
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass
