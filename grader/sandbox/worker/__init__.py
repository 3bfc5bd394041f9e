"""The untrusted side: copied to a private folder as the package `alphabar_worker`, the only project files there.

Nothing here imports `grader`: modules import each other relatively, so that they work under either name.
"""
