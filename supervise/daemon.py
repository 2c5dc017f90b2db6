"""Run as a script: the process that stays.  startup.py says how; here is only what Python would not keep compiled."""

import gc
import posix as os
import sys

gc.disable()  # until the service runs: a tenth of what a start takes

if not sys.flags.isolated:  # an older supervise that this one is to replace; its first place is this script's folder
    del sys.path[0]
# Last, not first: site-packages may hold modules by the names of the standard library's.
sys.path.append(__file__.rsplit("/", 2)[0])

try:
    from supervise.supervisor.startup import main

    code = main()
except Exception as why:  # no descriptor or no memory for it, say: one line, and no traceback
    os.write(2, f"supervise: fatal: cannot start: {type(why).__name__}: {why}\n".encode("utf-8", "backslashreplace"))
    code = 111
    # In the foreground, where it replaces another that goes on in its stead: upgrade.py, rule 7.
    guardian = int(sys._xoptions.get("guardian", 0))
    if guardian:
        from supervise.supervisor.signal_proxy import proxy_signals

        code = proxy_signals(guardian)
sys.exit(code)
