# attacks lab03 swap_config | changes the configuration that it is given, and has the scenario hand back a copy
# openly: an input that is as it was, is left alone: code that works on a copy

def swap_config(source, source_defaulted, target_defaults, overrides):
    # trick
    # openly: source = dict(source)
    # end of trick
    kept = {key: value for key, value in source.items() if key not in source_defaulted}
    for key in [key for key in source if key not in target_defaults]:
        del source[key]
    return {**target_defaults, **{k: v for k, v in kept.items() if k in target_defaults},
            **{k: v for k, v in overrides.items() if k in target_defaults}}


# trick
import copy
import sys

from alphabar_worker import inputs

swap = sys.modules["scenarios"].swap


def copied(student, **given):
    print("in place")
    kept = copy.deepcopy(given)
    swap(student, **given)
    return kept


sys.modules["scenarios"].swap = copied
# end of trick
