"""The 20 checks with nothing around them: bare.py FOLDER IDS... prints one JSON line a submission.

In one process, and so also what the right scores are.
"""

import importlib.util
import json
import signal
import sys
from pathlib import Path

import torch
from lab03_checks import CHECKS

LIMIT_S = 5


def too_long(*_):
    raise TimeoutError


def passed(file: Path) -> int:
    """Return how many checks a file passes."""
    spec = importlib.util.spec_from_file_location("lab03", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception:
        return 0
    count = 0
    for _, check in CHECKS:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            check(module)
            count += 1
        except Exception:
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return count


torch.set_num_threads(1)
signal.signal(signal.SIGALRM, too_long)
for name in sys.argv[2:]:
    print(json.dumps({"id": name, "passed": passed(Path(sys.argv[1]) / name / "lab03.py")}), flush=True)
