"""No secret is in anything that tells of refreshes: by our own clock and by command, when they work and when they fail.

Each outlet of the appliance is an entry of OUTLETS. Two tests hold that the search finds what is there: a canary where
names go, and one in an error that nobody masks.
"""

import collections
import contextlib
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest

from sscsi.core.provider_request import TOKENS_KEY
from sscsi.pb import provider_pb2, sscsi_pb2, sscsi_pb2_grpc
from tests.cli.fake_node import sscsi
from tests.fakes import fake_provider
from tests.fakes.fake_provider import FakeProvider, files_answer
from tests.support import canaries, canary_answers, canary_rooms, log_table
from tests.support.appliance_place import free_address
from tests.support.node_place import NodePlace, node_place
from tests.support.node_room import NODE, NodeProcess, node_process, publish_request
from tests.support.volume_state import pod_view
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

PODS = 12
CLASS = """
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: {name}
  namespace: default
  annotations: {{secrets-store.csi.k8s.io/share-provider-calls: "{shares}"}}
spec:
  provider: {provider}
  parameters: {{objects: any}}
"""
BROKEN_SECRET = """
  secretObjects:
  - secretName: broken
    type: Opaque
    data: [{objectName: absent, key: key}]
"""
# A step that ends a call with that text.
Error = tuple[grpc.StatusCode, str]
Step = provider_pb2.MountResponse | Error | Callable[[provider_pb2.MountRequest], "Step"]


class ScriptedProvider(FakeProvider):
    """Each call takes one step of the script; once it is over, all calls take the `last`."""

    def __init__(self) -> None:
        super().__init__()
        self.script: collections.deque[Step] = collections.deque()
        self.last: Step = canary_answers.answer()

    def Mount(
        self, request: provider_pb2.MountRequest, context: grpc.ServicerContext
    ) -> provider_pb2.MountResponse:
        self.requests.append(request)
        try:
            step = self.script.popleft()
        except IndexError:
            step = self.last
        if callable(step):
            step = step(request)
        if isinstance(step, tuple):
            context.abort(*step)
        assert isinstance(step, provider_pb2.MountResponse)
        return step


def script() -> list[Step]:
    """Every way to fail, and success with new content between them."""
    steps: list[Step] = [(grpc.StatusCode.INTERNAL, text) for text in canary_answers.quoting_errors()]
    steps += [(grpc.StatusCode.PERMISSION_DENIED, steps[-1][1])] if isinstance(steps[-1], tuple) else []
    steps += canary_answers.bad_answers()
    steps += [canary_answers.answer_with_its_request, canary_answers.answer_with_its_request]
    for number in range(5):
        contents = f"{canaries.WORD}-new-content-{number}".encode()
        steps.insert(number * 60, files_answer(("password", 0o600, contents), version=f"v{number}"))
    return steps


class Appliance:
    """The three rooms, with all their outlets, and two providers: `fake` by a script, `twin` with shared calls."""

    def __init__(
        self, place: NodePlace, node: NodeProcess, metrics_address: str, pids: Sequence[int]
    ) -> None:
        self.place = place
        self.node = node
        self.fake, self.twin = ScriptedProvider(), ScriptedProvider()
        self._metrics_address = metrics_address
        self._pids = pids
        self._watched: list[bytes] = []
        self.refreshes: list[bytes] = []
        self._call = node.volumes.Watch(sscsi_pb2.WatchRequest(), timeout=300)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in self._call:
                self._watched.append(message.SerializeToString())

    def publish(self, number: int, class_name: str, *, pod: str = "web", tokens: str = "") -> None:
        self.node.publish(
            publish_request(
                self.place.target_path(f"pod-{number}"),
                class_name=class_name,
                pod=f"{pod}-{number}",
                pod_uid=f"pod-{number}",
                secrets={**canaries.SECRETS, TOKENS_KEY: tokens} if tokens else canaries.SECRETS,
                attributes={} if tokens else canaries.VOLUME_CONTEXT,
            )
        )

    def refresh(self) -> None:
        answer = self.node.volumes.Refresh(sscsi_pb2.RefreshRequest(all=True), timeout=60)
        self.refreshes.append(answer.SerializeToString())

    def close(self) -> None:
        self._call.cancel()

    def look(self) -> dict[str, dict[str, bytes]]:
        """What there is to see, by outlet; the commands refresh once more."""
        return {outlet: look(self) for outlet, look in OUTLETS.items()}

    def command(self, *arguments: str) -> dict[str, bytes]:
        name, *others = arguments
        answer = sscsi(name, self.place.run_directory, *others, "--timeout=20s")
        return {" ".join(arguments): f"{answer.stdout}\n{answer.stderr}".encode()}

    def page(self, path: str) -> dict[str, bytes]:
        with urllib.request.urlopen(f"http://{self._metrics_address}{path}", timeout=20) as answer:
            return {path: answer.read()}

    def log(self, name: str) -> dict[str, bytes]:
        with open(f"{self.place.base}/{name}.log", "rb") as file:
            return {name: file.read()}

    def audit_log(self) -> dict[str, bytes]:
        with open(audit_path(self.place), "rb") as file:
            return {"audit": file.read()}

    def watched(self) -> dict[str, bytes]:
        return {f"message {number}": message for number, message in enumerate(self._watched)}

    def answers(self) -> dict[str, bytes]:
        return {f"answer {number}": answer for number, answer in enumerate(self.refreshes)}

    def room_status(self, room: str) -> dict[str, bytes]:
        channel = self.node.channel(f"{self.place.run_directory}/{room}-state.sock")
        answer = sscsi_pb2_grpc.RoomStub(channel).Status(sscsi_pb2.RoomStatusRequest(), timeout=60)
        return {room: answer.SerializeToString()}

    def processes(self) -> dict[str, bytes]:
        return canaries.process_texts(self._pids)


OUTLETS: dict[str, Callable[[Appliance], dict[str, bytes]]] = {
    "sscsi refresh": lambda at: at.command("refresh", "--all"),
    "sscsi refresh --json": lambda at: at.command("refresh", "--all", "--json"),
    "sscsi status": lambda at: at.command("status"),
    "sscsi status --json": lambda at: at.command("status", "--json"),
    "sscsi who": lambda at: at.command("who", "--match=*"),
    "sscsi who --json": lambda at: at.command("who", "--match=*", "--json"),
    "Volumes.Refresh": Appliance.answers,
    "Volumes.Watch": Appliance.watched,
    "Room.Status of node": lambda at: at.room_status("node"),
    "Room.Status of status-sync": lambda at: at.room_status("statussync"),
    "log of node": lambda at: at.log("node"),
    "log of status-sync": lambda at: at.log("statussync"),
    "log of livenessprobe": lambda at: at.log("livenessprobe"),
    "records": lambda at: canaries.files_below(at.place.state_directory),
    "run directory": lambda at: canaries.files_below(at.place.run_directory),
    "status objects": lambda at: canary_rooms.status_objects(at.place),
    "audit log": Appliance.audit_log,
    "metrics page": lambda at: at.page("/metrics"),
    "health page": lambda at: at.page("/healthz"),
    "command lines and environments": Appliance.processes,
}
# These show no word of anybody's but ours.
_OUR_WORDS = {"log of livenessprobe", "run directory", "health page", "command lines and environments"}


def audit_path(place: NodePlace) -> str:
    return f"{place.base}/audit.json"


def found_by_outlet(looks: Sequence[dict[str, dict[str, bytes]]]) -> dict[str, list[str]]:
    """The outlets that show a canary, with the places."""
    found: dict[str, list[str]] = {}
    for look in looks:
        for outlet, texts in look.items():
            assert texts, f"nothing to see: {outlet}"
            if places := canaries.found_in(texts):
                found.setdefault(outlet, []).extend(places)
    return found


@contextlib.contextmanager
def appliance(
    *flags: str, classes: dict[str, str], command: Sequence[str] = NODE, log_flags: Sequence[str] = ()
) -> Iterator[Appliance]:
    address = free_address()
    with (
        node_place() as place,
        canary_rooms.status_sync(place, *log_flags, classes=classes) as status_sync,
        node_process(
            place,
            *("--enable-secret-rotation", "-v=10", "--content-limit=65536"),
            *("--provider-health-check", "--provider-health-check-interval=200ms"),
            f"--audit-log={audit_path(place)}",
            *log_flags,
            *flags,
            command=command,
        ) as node,
        canary_rooms.program(
            place,
            "sidecars.livenessprobe",
            f"--http-endpoint={address}",
            *(["--logging-format=json"] if "--log-format-json" in log_flags else []),
        ) as livenessprobe,
    ):
        made = Appliance(place, node, address, [node.process.pid, status_sync.pid, livenessprobe.pid])
        with (
            fake_provider.serving(made.fake, place.provider_socket()),
            fake_provider.serving(made.twin, place.provider_socket("twin")),
        ):
            wait_until(lambda: answers(made), "the pages are served")
            try:
                yield made
            finally:
                made.close()


def answers(made: Appliance) -> bool:
    with contextlib.suppress(OSError):
        return b"sscsi_volumes" in made.page("/metrics")["/metrics"]
    return False


def own_tokens(number: int) -> str:
    """Tokens of one pod alone."""
    token = f"{canaries.WORD}.eyJ.of-pod-{number}"
    return json.dumps({"aud-1": {"token": token, "expirationTimestamp": "2126-11-24T10:00:00Z"}})


def tokens_of(request: provider_pb2.MountRequest) -> str:
    """The tokens of the pod that is asked for, which are secret to those who share the call, too."""
    return str(json.loads(request.attributes)[TOKENS_KEY])


def quote_tokens(request: provider_pb2.MountRequest) -> Step:
    return grpc.StatusCode.INTERNAL, f"cannot use {tokens_of(request)}"


def answer_with_tokens(request: provider_pb2.MountRequest) -> Step:
    return provider_pb2.MountResponse(error=provider_pb2.Error(code=f"cannot use {tokens_of(request)}"))


def failing(made: Appliance) -> int:
    answer = made.node.room.Metrics(sscsi_pb2.RoomMetricsRequest(), timeout=60)
    return int(
        sum(
            sample.value
            for family in answer.families
            if family.name == "sscsi_class_failing_volumes"
            for sample in family.samples
        )
    )


# Each trigger and each format once: one has nothing to do with the other.
@pytest.mark.parametrize(
    ("trigger", "log_flags"), [("clock", ()), ("command", ("--log-format-json",))], ids=["clock", "command"]
)
def test_a_canary_is_in_no_outlet_whatever_becomes_of_refreshes(
    trigger: str, log_flags: tuple[str, ...]
) -> None:
    classes = {
        "app": CLASS.format(name="app", provider="fake", shares="false"),
        "twin": CLASS.format(name="twin", provider="twin", shares="true"),
    }
    interval = "200ms" if trigger == "clock" else "1h"
    looks = []
    with appliance(f"--rotation-poll-interval={interval}", classes=classes, log_flags=log_flags) as made:
        for number in range(2):
            made.publish(number, "twin", tokens=own_tokens(number))
        for number in range(2, PODS):
            made.publish(number, "app")
        made.twin.script.extend([quote_tokens, answer_with_tokens] * 10)
        made.fake.script.extend(script())

        def is_over() -> bool:
            if trigger == "command":
                made.refresh()
            return not made.fake.script and not made.twin.script

        wait_until(is_over, "the providers have said everything", seconds=120)
        made.fake.last, made.twin.last = canary_answers.answer_with_its_request, quote_tokens
        made.refresh()
        wait_until(lambda: failing(made) == PODS, "all fail")
        wait_until(
            lambda: all(
                b"ProviderFailed" in text for text in canary_rooms.status_objects(made.place).values()
            ),
            "the status objects tell it",
        )
        looks.append(made.look())
        made.fake.last = made.twin.last = canary_answers.answer()
        made.refresh()
        wait_until(lambda: failing(made) == 0, "all are well")
        looks.append(made.look())
        for number in range(PODS):
            view = pod_view(made.place.target_path(f"pod-{number}"))
            assert {path: content for path, (_, content) in view.items()} == canaries.CONTENTS
        told = b"".join(made.log("node").values())
        for line in (b"refresh failed, the content stays", b"refreshed again, after failures", b"refreshed"):
            assert line in told
        assert f'trigger{chr(34) + ": " if log_flags else "="}"{trigger}"'.encode() in told
        if log_flags:
            lines = [json.loads(line) for line in told.splitlines()]
            assert [misfit for line in lines for misfit in log_table.misfits(line)] == []
        (audit,) = made.audit_log().values()
        assert b'"event":"refreshed"' in audit
        assert b'"shared":true' in audit
        assert canaries.found_in({"request": made.fake.requests[-1].SerializeToString()})
    assert found_by_outlet(looks) == {}


def test_a_canary_in_a_name_is_found_in_every_outlet_that_has_names() -> None:
    name = f"{canaries.WORD}-class"
    text = CLASS.format(name=name, provider="fake", shares="false") + BROKEN_SECRET
    with appliance("--rotation-poll-interval=1h", classes={"app": text}) as made:
        made.fake.last = files_answer(("password", 0o600, b"x"), version=f"{canaries.WORD}-v1")
        made.fake.version_error = (grpc.StatusCode.INTERNAL, f"{canaries.WORD} is out of order")
        made.publish(1, name, pod=canaries.WORD)
        made.refresh()
        wait_until(lambda: canary_rooms.status_objects(made.place), "there is a status object")
        wait_until(
            lambda: canaries.found_in(made.room_status("node")), "the node room has asked the provider"
        )
        wait_until(lambda: canaries.found_in(made.page("/metrics")), "the figures are there")
        found = found_by_outlet([made.look()])
    assert found.keys() == OUTLETS.keys() - _OUR_WORDS


def test_a_canary_in_an_error_that_nobody_masks_is_found_where_errors_are_told() -> None:
    classes = {"app": CLASS.format(name="app", provider="fake", shares="false")}
    command = (sys.executable, "-m", "tests.system.leaking_node")
    with appliance("--rotation-poll-interval=1h", classes=classes, command=command) as made:
        made.publish(1, "app")
        made.fake.last = quote_tokens
        made.refresh()
        wait_until(
            lambda: any(
                b"ProviderFailed" in text for text in canary_rooms.status_objects(made.place).values()
            ),
            "the status object tells it",
        )
        found = found_by_outlet([made.look()])
    errors = {
        "sscsi refresh",
        "sscsi refresh --json",
        "sscsi status --json",
        "sscsi who --json",
        "Volumes.Refresh",
        "Volumes.Watch",
        "log of node",
        "records",
        "status objects",
    }
    assert errors <= found.keys()
