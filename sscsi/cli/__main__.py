"""`sscsi COMMAND`: finds the command and turns errors into one line and an exit code."""

import importlib
import os
import sys

from sscsi import __version__
from sscsi.cli import signal_queue
from sscsi.cli.shared_memory import without_openssl
from sscsi.errors import ConfigError
from sscsi.process.flags import TextRequestedError

_USAGE = """Usage: sscsi COMMAND [flags]

  sscsi run      run the appliance: every program of it, under supervisord, in the foreground
  sscsi status   tell whether the appliance on this node is well, and why not
  sscsi refresh  have the content of volumes fetched now: of all, of a class or of a pod
  sscsi who      tell which pods on this node hold which version of an object
  sscsi doctor   check what the appliance needs of this node and its cluster, and tell the cure of what is amiss
  sscsi lint     check files of SecretProviderClasses, without a cluster
  sscsi demo     show a secret arrive in a volume, change and go, on this machine, without a cluster

sscsi COMMAND --help has the flags; sscsi --version tells the version."""

# Each is a module of its name here.
_OTHERS = frozenset({"status", "refresh", "who", "doctor", "lint", "demo"})


def main() -> int:
    """The console script."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    try:
        return _answer(command, arguments)
    except ConfigError as error:
        sys.stderr.write(f"sscsi {command}: {error}\n" if command else f"sscsi: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _answer(command: str, arguments: list[str]) -> int:
    try:
        return _run(command, arguments)
    except TextRequestedError as request:
        print(request, flush=True)
        return 0


def _run(command: str, arguments: list[str]) -> int:
    # Each command imports what it needs, and no other: `run` stays for as long as the node does.
    if command == "run":
        signal_queue.hold()
        with without_openssl():
            from sscsi.cli import run  # noqa: PLC0415

        return run.main(arguments, os.environ)
    if command in _OTHERS:
        code: int = importlib.import_module(f"sscsi.cli.{command}").main(arguments, os.environ)
        return code
    if command in {"-h", "-help", "--help", "help"}:
        raise TextRequestedError(_USAGE)
    if command in {"-version", "--version"}:
        raise TextRequestedError(__version__)
    if command:
        raise ConfigError("there is no such command; sscsi --help lists them")
    raise ConfigError("which command? sscsi --help lists them")


if __name__ == "__main__":
    sys.exit(main())
