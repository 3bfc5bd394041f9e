# expects raised | clears the terminal, sets its title and turns the text's direction

print("\x1b[2J\x1b[1;32mfull marks\x1b[0m\r\x1b]0;title\x07\u202e\x9b31m\u2066")


def step(x):
    raise ValueError("\x1b[1A\x1b[2Kfull marks \u202e")
