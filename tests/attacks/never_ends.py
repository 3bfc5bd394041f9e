# expects timed_out | computes for ever

def step(x):
    while True:
        x = x * 0.5 + 1
