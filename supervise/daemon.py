"""Run as a script: the process that stays.  launch.py says how; here is only what Python would not keep compiled."""

import os
import sys

# Last, not first: site-packages may hold modules by the names of the standard library's.
sys.path[:] = [*sys.path[1:], os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from supervise.launch import main  # noqa: E402

sys.exit(main())
