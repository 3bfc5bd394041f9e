# expects refused | answers with an object that claims to be a tensor and has no data

import torch


class Fake:
    __class__ = torch.Tensor
    shape = (2, 3)
    dtype = torch.float32

    def __getattr__(self, name):
        return lambda *a, **k: self


def step(x):
    return Fake()
