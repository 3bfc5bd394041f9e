# expects raised | opens sockets of every family

import socket

opened = []
for family, address in ((socket.AF_INET, ("127.0.0.1", 9)), (socket.AF_INET6, ("::1", 9)), (socket.AF_UNIX, "\0name")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            connection = socket.socket(family, kind)
            opened.append(family)
            connection.connect(address)
        except OSError:
            pass
try:
    socket.socketpair()
    opened.append("pair")
except OSError:
    pass


def step(x):
    raise RuntimeError(f"LEAK {opened}" if opened else "denied")
