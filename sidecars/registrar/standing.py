"""Where the registration stands: one value, replaced whole, that status and health pages read."""

import dataclasses
import threading
import time

from sscsi.core.room_status import RoomStatus

WAITING_FOR_DRIVER = "waiting for the driver"
WAITING_FOR_KUBELET = "waiting for kubelet"
REGISTERED = "registered"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All there is to tell. `state` is one of the three above.

    `problem`: why the registration is not there now, or not yet; empty when there is nothing to say.
    `last_error`: the last thing that went wrong, and when, kept after it was mended. `registered_since`: when kubelet last
    confirmed, in seconds since the epoch. `registrations` and `refusals`: how often it has, and how often it has refused,
    in the life of this process.
    """

    endpoint: str
    state: str = WAITING_FOR_DRIVER
    driver_name: str = ""
    socket_path: str = ""
    registered_since: float = 0.0
    registrations: int = 0
    refusals: int = 0
    problem: str = ""
    last_error: str = ""
    last_error_time: float = 0.0
    namesakes: str = ""
    """That another driver of this name is on the node; empty when there is none, or nobody knows yet."""

    def without_driver(self, problem: str) -> "Standing":
        """The driver gives no usable answer."""
        return dataclasses.replace(
            self,
            state=WAITING_FOR_DRIVER,
            socket_path="",
            registered_since=0.0,
            problem=problem,
            last_error=problem,
        )

    def with_driver(self, driver_name: str, socket_path: str) -> "Standing":
        """The driver answered; kubelet is next. A problem that kubelet has told of stays until it confirms."""
        problem = self.problem if self.state == WAITING_FOR_KUBELET else ""
        return dataclasses.replace(
            self,
            state=WAITING_FOR_KUBELET,
            driver_name=driver_name,
            socket_path=socket_path,
            registered_since=0.0,
            problem=problem,
        )

    def unregistered(self, problem: str) -> "Standing":
        """What keeps kubelet from knowing the driver."""
        return dataclasses.replace(
            self, state=WAITING_FOR_KUBELET, registered_since=0.0, problem=problem, last_error=problem
        )

    def refused(self, problem: str) -> "Standing":
        """Kubelet said no."""
        return dataclasses.replace(self.unregistered(problem), refusals=self.refusals + 1)

    def registered(self, at: float) -> "Standing":
        """Kubelet confirmed at `at`."""
        return dataclasses.replace(
            self,
            state=REGISTERED,
            registered_since=at,
            registrations=self.registrations + 1,
            problem="",
        )

    def room_status(self) -> RoomStatus:
        return RoomStatus(
            state=self.state,
            facts={
                "driver": self.driver_name,
                "socket": self.socket_path,
                "endpoint": self.endpoint,
                "registered_since": f"{self.registered_since:.3f}" if self.registered_since else "",
                "registrations": str(self.registrations),
                "last_error": self.last_error,
                "last_error_time": f"{self.last_error_time:.3f}" if self.last_error_time else "",
            },
            problems=tuple(filter(None, (self.problem, self.namesakes))),
        )


class Board:
    """Holds the present standing. Any thread may look; changes are made one after another."""

    def __init__(self, endpoint: str) -> None:
        self._lock = threading.Lock()
        self._now = Standing(endpoint=endpoint)

    def look(self) -> Standing:
        return self._now

    def without_driver(self, problem: str) -> None:
        with self._lock:
            self._fail(self._now.without_driver(problem))

    def with_driver(self, driver_name: str, socket_path: str) -> None:
        with self._lock:
            self._now = self._now.with_driver(driver_name, socket_path)

    def unregistered(self, problem: str) -> None:
        with self._lock:
            self._fail(self._now.unregistered(problem))

    def refused(self, problem: str) -> None:
        with self._lock:
            self._fail(self._now.refused(problem))

    def remind(self, problem: str, *, seen: Standing) -> bool:
        """`problem` is why kubelet has not confirmed, unless it did since it was `seen`; whether that is so."""
        with self._lock:
            is_so = self._now.registrations == seen.registrations
            if is_so:
                self._fail(self._now.unregistered(problem))
            return is_so

    def solved(self, problem: str) -> None:
        """`problem` is none any more; another one stays."""
        with self._lock:
            if self._now.problem == problem:
                self._now = dataclasses.replace(self._now, problem="")

    def registered(self, at: float) -> None:
        with self._lock:
            self._now = self._now.registered(at)

    def with_namesakes(self, problem: str) -> None:
        """Another driver of this name is on the node; empty: there is none."""
        with self._lock:
            self._now = dataclasses.replace(self._now, namesakes=problem)

    def _fail(self, standing: Standing) -> None:
        self._now = dataclasses.replace(standing, last_error_time=time.time())
