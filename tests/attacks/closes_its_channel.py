# expects protocol | closes every descriptor and goes on living

import os
import time


def step(x):
    os.closerange(0, 64)
    time.sleep(1000)
