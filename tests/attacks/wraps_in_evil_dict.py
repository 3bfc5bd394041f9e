# expects wrong | answers with a dict, a list and an int whose own methods lie or never end

class D(dict):
    def items(self):
        while True:
            yield "x", 1

    __iter__ = keys = items


class L(list):
    def __iter__(self):
        while True:
            yield 1

    def __len__(self):
        return 3


class I(int):
    def __index__(self):
        raise SystemExit

    __int__ = __str__ = __repr__ = __add__ = __index__


def step(x):
    return D(a=L([I(3)]))
