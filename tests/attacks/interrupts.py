# expects raised | raises KeyboardInterrupt

def step(x):
    raise KeyboardInterrupt
