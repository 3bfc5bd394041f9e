# expects raised | has a module-level __getattr__ that offers every function

def __getattr__(name):
    return lambda x, *rest: x
