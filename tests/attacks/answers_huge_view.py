# expects refused | answers with a view of many gigabytes that takes four bytes

import torch


def step(x):
    return torch.zeros(1).expand(1 << 34)
