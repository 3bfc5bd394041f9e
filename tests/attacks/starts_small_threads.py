# expects crashed | starts many threads with small stacks, which its memory has room for
# honest twin: starts_a_few_threads.py

import threading
import time


def step(x):
    threading.stack_size(64 << 10)
    while True:
        try:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        except RuntimeError:
            time.sleep(1)
