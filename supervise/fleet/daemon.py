"""Run as a script: the process that carries a command of svall out, and whose copies are supervises (begin.py).

It is called as the other process that stays is (supervise/daemon.py), for whoever knows a supervise by that.
"""

import gc
import posix as os
import sys

gc.disable()

# Last, not first: site-packages may hold modules by the names of the standard library's.
sys.path.append(__file__.rsplit("/", 3)[0])

try:
    from supervise.fleet.begin import main

    code = main()
except Exception as why:  # no descriptor or no memory for it, say: one line, and no traceback
    os.write(2, f"svall: fatal: cannot start: {type(why).__name__}: {why}\n".encode("utf-8", "backslashreplace"))
    code = 111
except KeyboardInterrupt:
    code = 130
os._exit(code)
