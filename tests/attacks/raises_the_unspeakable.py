# expects raised | raises an exception whose message, name and class misbehave

class Meta(type):
    @property
    def __name__(cls):
        raise SystemExit

    def __instancecheck__(cls, other):
        raise SystemExit

    def __getattribute__(cls, name):
        raise SystemExit


class Unspeakable(BaseException, metaclass=Meta):
    def __str__(self):
        raise self

    __repr__ = __str__


def step(x):
    raise Unspeakable
