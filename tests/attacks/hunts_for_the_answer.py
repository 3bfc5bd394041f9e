# expects raised | searches frames, the collector and all modules for a tensor that looks like the expected answer

import gc
import sys

import torch


def step(x):
    suspects, frame = [], sys._getframe()
    while frame is not None:
        suspects += list(frame.f_locals.values())
        frame = frame.f_back
    for module in list(sys.modules.values()):
        suspects += list(getattr(module, "__dict__", {}).values())
    suspects += gc.get_objects()
    for thing in suspects:
        if type(thing) is torch.Tensor and thing.shape == x.shape and torch.equal(thing, x * 0.5 + 1):
            raise RuntimeError("LEAK an answer lies around")
    raise RuntimeError("nothing to be found")
