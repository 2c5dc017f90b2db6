"""`python -m supervise`: the same as the program."""

import os
import sys

if __name__ == "__main__":
    if not sys.flags.isolated:  # what else the caller's variables PYTHON* ask of this Python is meant for the service
        from supervise.protocol.options import environment

        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, *sys.argv[1:]], environment())
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if here not in sys.path:
        sys.path.append(here)

    from supervise.programs.supervise import main
    from supervise.system.isolated import rename

    rename("supervise")
    sys.exit(main())
