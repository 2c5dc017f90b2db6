"""Run as a script by a supervise of an earlier version that still runs: it is helpers/alarm_helper.py by now."""

import os
import sys

if not sys.flags.isolated:  # its first place is this script's folder
    del sys.path[0]
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from supervise.helpers.alarm_helper import main

sys.exit(main(sys.argv[1:]))
