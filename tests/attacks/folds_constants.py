# expects timed_out at import | makes the compiler or the loader compute a giant power

x = 10**10**9
