"""Print the scores that nbgrader keeps: nbgrader_scores.py COURSE."""

import json
import sys

from nbgrader.api import Gradebook

with Gradebook(f"sqlite:///{sys.argv[1]}/gradebook.db") as book:
    print(json.dumps({one.student.id: one.score for one in book.assignment_submissions("lab03")}))
