# expects raised or crashed | starts threads until it cannot

import threading


def step(x):
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
