# expects raised or crashed | allocates until nothing is left

import torch

hoard = []


def step(x):
    while True:
        hoard.append(torch.ones(1 << 24))
