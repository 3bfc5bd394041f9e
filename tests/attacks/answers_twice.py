# expects wrong | finds its sequence number and answers the same question a second time

import json
import os
import struct
import sys


def step(x):
    frame = sys._getframe()
    while frame is not None and "sequence" not in frame.f_locals:
        frame = frame.f_back
    text = json.dumps({"value": [1]}).encode()
    os.write(3, struct.pack("<4sIIQ", b"AB1\0", frame.f_locals["sequence"], len(text), 0) + text)
    return x
