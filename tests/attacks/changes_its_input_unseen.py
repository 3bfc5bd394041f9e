# expects changed | changes its input behind autograd's back, by address

import ctypes


def step(x):
    result = x * 0.5 + 1
    ctypes.memset(x.data_ptr(), 0, x.numel() * 4)
    return result
