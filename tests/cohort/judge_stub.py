"""A judge that does what the source it is sent says: speaks the protocol, and breaks it. Run as a program."""

import base64
import json
import os
import signal
import sys
from pathlib import Path

from tests.cohort.made import result


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


manner = sys.argv[1]
sys.stdin.readline()
if manner == "refuses":
    say({"refused": "Another course lies here.", "kind": "CourseError"})
    sys.exit(1)
if manner == "never starts":
    sys.exit("no torch anywhere")
say({"ready": True})
for line in sys.stdin:
    work = json.loads(line)
    words = base64.b64decode(work["source"]).decode().split()
    graded = result(digest=words[-1]).model_dump(mode="json")
    if words[0] == "kills":
        print("a last word", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "kills-once" and not Path(words[1]).exists():
        Path(words[1]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "hangs":
        signal.pause()
    elif words[0] == "fails":
        say({"id": work["id"], "result": graded, "fault": "the reference broke off"})
        sys.exit(1)
    say({"id": work["id"], "result": graded})
