# expects refused | answers with a sparse tensor of the right values

def step(x):
    return (x * 0.5 + 1).to_sparse()
