# expects crashed | reads address 0

import ctypes


def step(x):
    ctypes.string_at(0)
