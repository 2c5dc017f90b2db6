"""Print what setup.cfg asks for, one requirement a line: extras.py EXTRA ...

pip installs a package with its dependencies or without both it and them; the Makefile wants the dependencies alone.
"""

import configparser
import sys

config = configparser.ConfigParser(interpolation=None)
config.read("setup.cfg")
texts = [config["options"]["install_requires"]]
texts += [config["options.extras_require"][extra] for extra in sys.argv[1:]]
for text in texts:
    print("\n".join(line for line in text.splitlines() if line.strip()))
