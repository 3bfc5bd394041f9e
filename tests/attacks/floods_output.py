# expects crashed | prints without end

def step(x):
    while True:
        print("A" * 65536)
