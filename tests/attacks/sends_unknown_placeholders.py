# expects protocol | sends placeholders that the format does not know, and one of an odd type

import json
import os
import struct
import sys


def step(x):
    frame = sys._getframe()
    while "sequence" not in frame.f_locals:
        frame = frame.f_back
    text = json.dumps({"value": {"$callback": -1}, "changed": [], "next_draw": {"g": "now"}}).encode()
    os.write(3, struct.pack("<4sIIQ", b"AB1\0", frame.f_locals["sequence"], len(text), 0) + text)
