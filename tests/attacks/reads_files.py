# expects raised | reads and lists what no worker needs: accounts, homes, the project, site-packages, /proc, /etc

import glob
import os
import sys

got = []
site = [p for m in list(sys.modules.values()) for p in [getattr(m, "__file__", None) or ""] if "torch/__init__" in p]
places = ["/etc/passwd", "/etc/hostname", "/root/.bashrc", "/proc/1/cmdline", "/proc/self/environ", "/proc/self/maps",
          "/proc/self/mem", "/sys/kernel/uevent_seqnum", "/var/log/dpkg.log", "/boot", "/home", "/root", "/work", "/var", "/srv"]
for folder in site:
    packages = os.path.dirname(os.path.dirname(folder))
    places += [os.path.join(packages, n) for n in ("pytest", "pip", "grader", "pyseccomp.py", "click/__init__.py")]
stdlib = os.path.dirname(os.__file__)
places += [f"{stdlib}/{kind}-packages/{name}" for kind in ("site", "dist") for name in ("README.txt", "pip/__init__.py")]
for place in places:
    try:
        got.append((place, os.listdir(place)) if os.path.isdir(place) else (place, open(place, "rb").read(20)))
    except OSError:
        pass
# An empty folder of the sandbox's own tells nothing.
got = [(place, what) for place, what in got if what]


def step(x):
    raise RuntimeError(f"LEAK {got}" if got else "denied")
