# expects wrong | answers the right values in double precision

def step(x):
    return (x * 0.5 + 1).double()
