# expects wrong | answers with a tensor subclass that computes only when it is looked at

import torch


class Later(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return args[0].as_subclass(torch.Tensor) * 0.5 + 1

    @property
    def requires_grad(self):
        raise RuntimeError("not yet")

    dtype = layout = device = shape = requires_grad


def step(x):
    return x.as_subclass(Later)
