# expects raised | imports checks, reference, grader or pytest from every place it can think of

import importlib
import sys

found = []
for name in ("grader", "reference", "checks", "conftest", "pytest", "_pytest", "peft", "transformers", "accelerate", "pip"):
    for place in [*sys.path, "/work", "/opt", "/srv", "/usr/lib/python3/dist-packages", "/home"]:
        sys.path.insert(0, place)
        try:
            importlib.import_module(name)
            found.append((name, place))
        except ImportError:
            pass
        sys.path.pop(0)


def step(x):
    raise RuntimeError(f"LEAK {found}" if found else "nothing to be found")
