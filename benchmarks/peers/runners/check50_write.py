"""Write the checks as check50 wants them, one function a check: check50_write.py TARGET."""

import sys
from pathlib import Path

from lab03_checks import CHECKS

# lab03_checks at the top: torch is imported once and the checks fork from it. Imported in a check it is paid for twenty
# times over, and within that check's time-out.
HEAD = "import check50\nimport check50.py\nimport lab03_checks\n"
CHECK = '''

@check50.check(timeout=5)
def {name}():
    """{name}"""
    module = check50.py.import_("lab03.py")
    try:
        lab03_checks.{name}(module)
    except AssertionError as error:
        raise check50.Failure(str(error))
'''

target = Path(sys.argv[1])
target.mkdir()
(target / "__init__.py").write_text(HEAD + "".join(CHECK.format(name=name) for name, _ in CHECKS))
(target / ".cs50.yaml").write_text("check50:\n  checks: __init__.py\n")
