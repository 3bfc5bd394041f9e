# expects refused | answers with a list that contains itself

def step(x):
    ring = []
    ring.append(ring)
    return ring
