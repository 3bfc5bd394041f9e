"""The engine of alphabar: runs a student's code apart from the judge and compares what comes back."""

__version__ = "0.1.0"
