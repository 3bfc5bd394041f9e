# expects raised | puts markup and scripts into its output and its error

print("<script>alert(1)</script><img src=x onerror=alert(2)>")


def step(x):
    raise ValueError("</pre><script>fetch('//example.org')</script>")
