"""The driver's name, which is nothing but a label here: nobody waits for it."""

import logging
import threading
from collections.abc import Callable

from sscsi.core.backoff import delays
from sscsi.core.log_keys import DRIVER, PATH, REASON
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.errors import DriverCallError, DriverUnreachableError, StoppingError

log = logging.getLogger(__name__)


def learn_driver_name(
    calls: IdentityCalls, *, timeout_seconds: float, stop: threading.Event, learned: Callable[[str], None]
) -> None:
    """Ask until the driver tells its name, or until `stop` is set. What is waited for is logged when it changes.

    Upstream has no listener until then, and leaves when the answer is an error.
    """
    said = ""
    for delay in delays(first_seconds=0.1, factor=1.6, max_seconds=5.0):
        try:
            name = calls.driver_name(timeout_seconds=timeout_seconds)
        except StoppingError:
            return
        except (DriverUnreachableError, DriverCallError) as error:
            if str(error) != said:
                said = str(error)
                log.info("waiting for the driver", extra={PATH: calls.socket_path, REASON: said})
        else:
            learned(name)
            log.info("the driver answers", extra={PATH: calls.socket_path, DRIVER: name})
            return
        if stop.wait(delay):
            return
