"""The judge: runs a lab's checks in pytest, asks the workers, compares, diagnoses. Never imports torch."""
