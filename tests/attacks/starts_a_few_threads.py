# expects right | an honest one: works with eight threads

import threading


def step(x):
    parts = [None] * 8

    def work(i):
        parts[i] = x * 0.5 + 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return parts[7]
