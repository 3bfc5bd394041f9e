# expects changed | computes the right answer in the place of its input

def step(x):
    return x.mul_(0.5).add_(1)
