"""A judge that does what the source it is sent says: speaks the protocol, and breaks it. Run as a program."""

import base64
import json
import os
import signal
import sys
from pathlib import Path

from tests.cohort.made import graded, result


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def reach(name):
    """Be killed at the NUMBERth time that a judge gets to POINT."""
    if manner == "grades" and name == sys.argv[3]:
        for number in range(1, int(sys.argv[4]) + 1):
            try:
                Path(f"{sys.argv[2]}.{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            if number == int(sys.argv[4]):
                os.kill(os.getpid(), signal.SIGKILL)
            break


manner = sys.argv[1]
sys.stdin.readline()
if manner == "refuses":
    say({"refused": "Another course lies here.", "kind": "CourseError"})
    sys.exit(1)
if manner == "never starts":
    sys.exit("no torch anywhere")
reach("judge asked to start")
say({"ready": True})
for line in sys.stdin:
    work = json.loads(line)
    if manner == "grades":
        reach("judge has a file")
        source = base64.b64decode(work["source"])
        with Path(sys.argv[2]).open("a") as log:
            log.write(f"{work['id']}\n")
        reach("judge has graded")
        say({"id": work["id"], "result": graded(work["id"], source).model_dump(mode="json")})
        reach("judge has answered")
        continue
    words = base64.b64decode(work["source"]).decode().split()
    found = result(digest=words[-1]).model_dump(mode="json")
    if words[0] == "kills":
        print("a last word", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "kills-once" and not Path(words[1]).exists():
        Path(words[1]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "hangs":
        signal.pause()
    elif words[0] == "fails":
        say({"id": work["id"], "result": found, "fault": "the reference broke off"})
        sys.exit(1)
    say({"id": work["id"], "result": found})
