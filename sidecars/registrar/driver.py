"""The CSI driver, as far as the registrar asks it anything: its name."""

import re

import grpc

from sscsi.core.redaction import clean_message
from sscsi.edges.csi_identity import IdentityCalls
from sscsi.errors import DriverCallError, DriverUnreachableError

_LONGEST_SECONDS = 30.0
_MAX_NAME = 63
# CSI: RFC 1035 with 63 characters in all; Kubernetes looks at the name in lower case.
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")
_UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]
_LATE = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


def is_driver_name(name: str) -> bool:
    """Whether Kubernetes would register a driver of this name; it is part of a file's name too."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def kind_of_trouble(error: DriverUnreachableError | DriverCallError) -> str:
    """What makes one trouble another: not its text, which may tell seconds, or the time in the driver's own words."""
    if isinstance(error, DriverUnreachableError):
        return error.reason
    return "timeout" if error.code == _LATE else f"code {error.code}"


class Driver:
    """Asks for the name, one question at a time; `close`, by any thread, ends the one under way.

    A driver that is late gets twice the time at the next question, up to 30 s: one that always takes 3 s to answer
    is no less a driver.
    """

    def __init__(self, socket_path: str, *, timeout_seconds: float) -> None:
        self.socket_path = socket_path
        self._calls = IdentityCalls(socket_path)
        self._timeout_seconds = self._first_timeout_seconds = timeout_seconds

    def ask_name(self) -> str:
        """The driver's name, fit to be registered. Raises DriverUnreachableError, DriverCallError, StoppingError."""
        name = self._ask()
        if not is_driver_name(name):
            raise DriverCallError(
                f"the driver at {self.socket_path} calls itself {clean_message(name, ())!r}, which Kubernetes does "
                f"not register: letters, digits, '-' and '.', at most {_MAX_NAME} of them",
                code=_UNKNOWN,
            )
        self._timeout_seconds = self._first_timeout_seconds
        return name

    def close(self) -> None:
        """End the question under way, and any later one."""
        self._calls.close()

    def _ask(self) -> str:
        try:
            return self._calls.driver_name(timeout_seconds=self._timeout_seconds)
        except DriverUnreachableError as error:
            if error.reason != "timeout":
                raise
            raise DriverUnreachableError(self._be_patient(), reason=error.reason) from error
        except DriverCallError as error:
            if error.code == _LATE:
                text = self._be_patient()
            else:
                text = f"GetPluginInfo at {self.socket_path}: {error}"
                if error.code == _UNIMPLEMENTED:
                    text += "; is it a CSI driver's socket?"
            raise DriverCallError(text, code=error.code) from error

    def _be_patient(self) -> str:
        """Give the next question more time; the text says how long the last one had."""
        text = f"GetPluginInfo at {self.socket_path} was not answered in {self._timeout_seconds:g} s"
        longest = max(_LONGEST_SECONDS, self._first_timeout_seconds)
        self._timeout_seconds = min(self._timeout_seconds * 2, longest)
        return text
