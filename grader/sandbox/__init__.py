"""The sandbox: runs a student's code in a process of its own and brings back plain data. See docs/security.md."""
