# expects refused | answers with a hundred thousand numbers, one of them of ten thousand digits

def step(x):
    return [list(range(100_000)), 10**10_000]
