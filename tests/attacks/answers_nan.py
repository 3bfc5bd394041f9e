# expects wrong | answers NaN everywhere, for checkers to which NaN is close to anything

def step(x):
    return x * float("nan")
