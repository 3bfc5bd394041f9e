# expects raised or crashed or timed_out | lifts the recursion limit and recurses

import sys

sys.setrecursionlimit(10**9)


def step(x):
    return step(x)
