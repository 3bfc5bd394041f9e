# expects crashed | aborts as a C++ library would

import os


def step(x):
    os.abort()
