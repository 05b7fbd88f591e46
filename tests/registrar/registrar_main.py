"""The registrar with the umask, the working directory and the rights that a test asks for; else it is the real program."""

import os

from sidecars.registrar import __main__ as registrar
from sscsi.process.privileges import Privileges, drop

UMASK = "TEST_UMASK"
DIRECTORY = "TEST_DIRECTORY"
RIGHTS = "TEST_RIGHTS"
NO_RIGHTS = "none"
"""No capability, as under `sscsi run`: root, but to files of other users a user like any other."""


def main() -> int:
    os.umask(int(os.environ[UMASK], 8))
    os.chdir(os.environ[DIRECTORY])
    if os.environ.get(RIGHTS) == NO_RIGHTS:
        drop(Privileges())
    return registrar.main()
