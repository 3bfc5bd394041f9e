# expects protocol | sends a header that announces 2^63 bytes

import os
import struct


def step(x):
    os.write(3, struct.pack("<4sIIQ", b"AB1\0", 1, 16, 1 << 63))
    return x
