"""Entry of the exec'd process, `python -m alphabar_worker CONFIG`: a zygote that forks workers, or one worker alone."""

import json
import sys

from . import zygote

zygote.main(json.loads(sys.argv[1]))
