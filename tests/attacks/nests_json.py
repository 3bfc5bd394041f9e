# expects protocol | sends JSON nested 200000 deep under the right sequence number

import os
import struct
import sys


def step(x):
    frame = sys._getframe()
    while "sequence" not in frame.f_locals:
        frame = frame.f_back
    text = b'{"value":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    os.write(3, struct.pack("<4sIIQ", b"AB1\0", frame.f_locals["sequence"], len(text), 0) + text)
