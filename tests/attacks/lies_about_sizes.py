# expects protocol | sends a tensor whose shape is far larger than its bytes

import json
import os
import struct
import sys


def step(x):
    frame = sys._getframe()
    while "sequence" not in frame.f_locals:
        frame = frame.f_back
    row = {"dtype": "float32", "shape": [1 << 40], "strides": [1], "device": "cpu", "requires_grad": False, "nbytes": 8}
    text = json.dumps({"value": {"$tensor": 0}, "tensors": [row]}).encode()
    head = struct.pack("<4sIIQ", b"AB1\0", frame.f_locals["sequence"], len(text), 8)
    os.write(3, head + text + b"12345678")
