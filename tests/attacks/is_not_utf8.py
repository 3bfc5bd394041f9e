# expects raised at import | is not valid UTF-8

x = 'ÿþ'
