"""A whole class: find what was handed in, run it, and tell an instructor what the class knows."""
