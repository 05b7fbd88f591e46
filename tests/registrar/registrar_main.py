"""The registrar with the umask and the working directory that a test asks for; else it is the real program."""

import os

from sidecars.registrar import __main__ as registrar

UMASK = "TEST_UMASK"
DIRECTORY = "TEST_DIRECTORY"


def main() -> int:
    os.umask(int(os.environ[UMASK], 8))
    os.chdir(os.environ[DIRECTORY])
    return registrar.main()
