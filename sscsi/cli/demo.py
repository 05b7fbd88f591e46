"""`sscsi demo`: the whole appliance on this machine, with kubelet's part played on its CSI socket.

Everything happens in a private mount namespace, on one tmpfs: when the process ends, however it ends, nothing
of it is left. Code 0 means that every step was seen to be true, 1 that one was not, 130 that Ctrl-C (or
SIGTERM) stopped it.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from sscsi.cli import demo_options
from sscsi.cli.appliance import Appliance, is_served
from sscsi.cli.demo_options import DemoOptions
from sscsi.cli.errors import DemoFailedError
from sscsi.cli.kubelet import Kubelet
from sscsi.cli.narrator import Narrator
from sscsi.cli.playground import Playground, open_playground
from sscsi.cli.scenario import Scenario
from sscsi.cli.waiting import wait_for
from sscsi.edges.namespaces import enter_private_mounts

_ROTATION = ("--enable-secret-rotation=true", "--rotation-poll-interval=1s")
_START_SECONDS = 20.0
_TAIL_LINES = 25


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the demonstration; its exit code. Raises ConfigError and HelpRequestedError."""
    options = demo_options.parse(argv, environ)
    # The edges that are used in here log; this program talks to people, and has its own words for that.
    logging.getLogger("sscsi").addHandler(logging.NullHandler())
    where = enter_private_mounts()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    narrator = Narrator()
    try:
        with open_playground(classes=options.classes, secrets=options.secrets) as playground:
            narrator.tell(
                f"The Secrets Store CSI appliance without a cluster. It lives in {playground.root}, a tmpfs in {where}."
            )
            return _run(options, playground, narrator, environ)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted: everything was stopped and unmounted.\n")
        return 130


def _run(options: DemoOptions, playground: Playground, narrator: Narrator, environ: Mapping[str, str]) -> int:
    with Appliance(_ROTATION, _environment(playground, environ), log_path=playground.log) as appliance:
        try:
            _start(appliance, playground, narrator)
            Scenario(options, playground, narrator).play()
            _stop(appliance, playground, narrator)
        except BrokenPipeError:
            # Nobody reads on: not a failure of the appliance.
            raise
        except (DemoFailedError, OSError) as error:
            _report_failure(error, appliance)
            return 1
    narrator.tell("Done: everything above was checked, not only printed.")
    return 0


def _environment(playground: Playground, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without settings for another appliance, and ours."""
    foreign = {
        name: value for name, value in environ.items() if not name.startswith(("SSCSI_", "CSI_", "KUBE_NODE"))
    }
    return foreign | {
        "CSI_ENDPOINT": "unix://" + playground.socket,
        "KUBE_NODE_NAME": "demo-node",
        "SSCSI_CLUSTER": "dir:" + playground.classes,
        "SSCSI_FILE_PROVIDER_ROOT": playground.secrets,
        "SSCSI_FILE_PROVIDER_BY_NAMESPACE": "false",
        "SSCSI_RUN_DIR": playground.run_directory,
        "SSCSI_STATE_DIR": playground.record_directories[0],
    }


def _start(appliance: Appliance, playground: Playground, narrator: Narrator) -> None:
    narrator.step("Start the appliance: sscsi run " + " ".join(_ROTATION))
    begun = time.monotonic()
    kubelet = Kubelet(playground.socket, pods_directory=playground.pods)

    def is_up() -> bool:
        if appliance.exit_code is not None:
            raise DemoFailedError(f"the appliance ended with code {appliance.exit_code}")
        return all(map(is_served, playground.sockets)) and kubelet.is_ready()

    if not wait_for(is_up, timeout_seconds=_START_SECONDS):
        missing = [path for path in playground.sockets if not is_served(path)]
        raise DemoFailedError(
            f"not up after {_START_SECONDS:.0f} s; nobody serves {', '.join(missing) or 'Probe'}"
        )
    narrator.say(
        f"node, statussync and provider-file serve after {time.monotonic() - begun:.1f} s; the driver answers Probe."
    )


def _stop(appliance: Appliance, playground: Playground, narrator: Narrator) -> None:
    narrator.step("Stop the appliance: SIGTERM")
    begun = time.monotonic()
    code = appliance.stop()
    if code != 0:
        raise DemoFailedError(f"the appliance ended with code {code}, not 0")
    left = [path for path in playground.sockets if os.path.lexists(path)]
    if left:
        raise DemoFailedError(f"the appliance left its sockets: {', '.join(left)}")
    narrator.say(f"Ended with code 0 after {time.monotonic() - begun:.1f} s; its sockets are gone.")


def _report_failure(error: Exception, appliance: Appliance) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"\nsscsi demo: {error}\n\nThe last lines of the appliance's log:\n")
    for line in appliance.log_tail(_TAIL_LINES):
        sys.stderr.write(f"    {line}\n")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once is enough: tidying up takes its time, and must not be interrupted by impatience."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
