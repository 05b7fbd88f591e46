"""The life of one volume, told step by step: publish, what the cluster is told, how the appliance is, rotate,
unpublish.

Every sentence is checked before it is printed; what does not come out as it must raises DemoFailedError.
"""

import os
import time
import uuid
from collections.abc import Iterator

from sscsi.cli import source_change, status, status_screen, volume_view
from sscsi.cli.demo_options import DemoOptions
from sscsi.cli.errors import DemoFailedError
from sscsi.cli.kubelet import Kubelet, PodVolume
from sscsi.cli.narrator import Narrator
from sscsi.cli.playground import Playground
from sscsi.cli.source_change import SourceChange
from sscsi.cli.status_report import Report
from sscsi.cli.volume_view import VolumeView
from sscsi.cli.waiting import wait_for

_ROTATION_SECONDS = 15.0
_CLUSTER_SECONDS = 10.0
_FOLLOW_SECONDS = 5.0
_HEALTH_SECONDS = 15.0


class Scenario:
    """One volume of one pod on a running appliance."""

    def __init__(self, options: DemoOptions, playground: Playground, narrator: Narrator) -> None:
        self._options = options
        self._playground = playground
        self._narrator = narrator
        self._kubelet = Kubelet(playground.socket, pods_directory=playground.pods)
        self._volume = PodVolume(
            pod_name="demo-pod",
            pod_namespace=options.namespace,
            pod_uid=str(uuid.uuid4()),
            service_account="default",
            volume_name="secrets",
            attributes={"secretProviderClass": options.class_name},
        )
        self._target_path = self._kubelet.target_path(self._volume)

    def play(self) -> None:
        """All of it, in order. Raises DemoFailedError."""
        view = self._publish()
        self._show_cluster()
        self._show_status()
        self._rotate(view)
        self._unpublish()

    def _publish(self) -> VolumeView:
        name = f"{self._options.namespace}/{self._options.class_name}"
        self._narrator.step(
            f"Publish, as kubelet does it: a volume of class {name} for pod {self._volume.pod_name}"
        )
        begun = time.monotonic()
        self._kubelet.publish(self._volume)
        milliseconds = (time.monotonic() - begun) * 1000
        self._narrator.say(
            f"NodeGetCapabilities, NodeGetCapabilities, NodePublishVolume: OK after {milliseconds:.0f} ms."
        )
        options = volume_view.mount_options(self._target_path)
        if not options:
            raise DemoFailedError(f"nothing is mounted at {self._target_path}")
        view = volume_view.look(self._target_path)
        if not view.files:
            raise DemoFailedError(f"there is no file in {self._target_path}")
        self._narrator.say(f"The volume, {self._short(self._target_path)}:")
        self._narrator.show(view.tree)
        self._narrator.say("What a container reads:")
        self._narrator.show(volume_view.describe_contents(view, reveal=self._options.show_contents))
        self._narrator.say("How it is mounted:")
        self._narrator.show([options])
        return view

    def _show_cluster(self) -> None:
        self._narrator.step("What the cluster is told; the directory of classes stands for it")
        if not wait_for(lambda: bool(self._status_objects()), timeout_seconds=_CLUSTER_SECONDS):
            raise DemoFailedError(f"no status object appeared in {self._playground.status}")
        for path in self._cluster_files():
            self._narrator.say(f"{self._short(path)}:")
            self._narrator.show(self._describe_object(path))

    def _show_status(self) -> None:
        directory = self._playground.run_directory
        self._narrator.step(f"How is the appliance? sscsi status --run-dir={directory}")
        reports: list[Report] = []

        def is_well() -> bool:
            reports.append(status.look(directory, timeout_seconds=status.ANSWER_SECONDS))
            # supervisord calls no program RUNNING before it is three seconds old.
            states = [program.state for program in reports[-1].programs.values() if program.wanted]
            return reports[-1].healthy and all(state == "RUNNING" for state in states)

        if not wait_for(is_well, timeout_seconds=_HEALTH_SECONDS):
            raise DemoFailedError(f"sscsi status: {'; '.join(reports[-1].reasons) or 'not all are RUNNING'}")
        if reports[-1].volumes.count != 1:
            raise DemoFailedError(f"sscsi status knows of {reports[-1].volumes.count} volumes, not of one")
        self._narrator.show(status_screen.render(reports[-1]).splitlines())

    def _rotate(self, before: VolumeView) -> None:
        self._narrator.step(
            "A secret changes at its source; the appliance asks every second here, whether kubelet calls or not"
        )
        changes = self._changes(before)
        if not changes:
            self._narrator.say(
                "Nothing was changed: no file of the volume is one of your files as it is, all are made from parts."
            )
            return
        for change in changes:
            change.apply()
            self._narrator.say(f"Replaced {self._short(change.path)}.")
        objects = self._contents_of_cluster()
        begun = time.monotonic()
        after = self._wait_until_changed(before)
        self._narrator.say(
            f"New content {time.monotonic() - begun:.1f} s later, by one rename of the link ..data:"
        )
        self._narrator.show(
            [f"before  ..data -> {before.data_directory}", f"after   ..data -> {after.data_directory}"]
        )
        self._narrator.say("What the container reads now:")
        self._narrator.show(volume_view.describe_contents(after, reveal=self._options.show_contents))
        self._show_followers(objects)

    def _show_followers(self, before: dict[str, str]) -> None:
        """The status object must follow; a Secret does when it holds what was changed."""

        def rewritten() -> list[str]:
            return [
                path for path, content in self._contents_of_cluster().items() if content != before.get(path)
            ]

        wait_for(lambda: len(rewritten()) == len(before), timeout_seconds=_FOLLOW_SECONDS)
        found = rewritten()
        if not set(self._status_objects()) <= set(found):
            raise DemoFailedError("the status object does not tell the new version")
        self._narrator.say("Rewritten to match:")
        self._narrator.show(map(self._short, found))

    def _unpublish(self) -> None:
        self._narrator.step("The pod goes: kubelet unpublishes")
        begun = time.monotonic()
        self._kubelet.unpublish(self._volume)
        milliseconds = (time.monotonic() - begun) * 1000
        self._narrator.say(f"NodeUnpublishVolume: OK after {milliseconds:.0f} ms.")
        left = volume_view.mounts_below(self._playground.pods) + sorted(os.listdir(self._playground.pods))
        if left:
            raise DemoFailedError(f"left below {self._playground.pods}: {', '.join(left)}")
        records = [
            path for directory in self._playground.record_directories for path in self._files(directory)
        ]
        if records:
            raise DemoFailedError(f"records are left: {', '.join(records)}")
        if not wait_for(lambda: not self._cluster_files(), timeout_seconds=_CLUSTER_SECONDS):
            raise DemoFailedError(
                f"left in {self._playground.status}: {', '.join(map(self._short, self._cluster_files()))}"
            )
        self._narrator.say("Nothing is left: no mount, no directory, no record, no status object, no Secret.")

    def _changes(self, view: VolumeView) -> list[SourceChange]:
        if self._options.changes:
            return source_change.from_directory(self._options.changes, self._playground.secrets)
        return source_change.for_content(view.files, self._playground.secrets)

    def _wait_until_changed(self, before: VolumeView) -> VolumeView:
        def is_changed() -> bool:
            return volume_view.look(self._target_path).files != before.files

        if not wait_for(is_changed, timeout_seconds=_ROTATION_SECONDS):
            raise DemoFailedError(
                f"the volume still has the old content {_ROTATION_SECONDS:.0f} s after the change"
            )
        return volume_view.look(self._target_path)

    def _cluster_files(self) -> list[str]:
        return self._files(self._playground.status)

    def _files(self, root: str) -> list[str]:
        return sorted(
            os.path.join(directory, name)
            for directory, _, names in os.walk(root)
            for name in names
            if not name.startswith(".")
        )

    def _status_objects(self) -> list[str]:
        kind = os.path.join(self._playground.status, "secretproviderclasspodstatuses", "")
        return [path for path in self._cluster_files() if path.startswith(kind)]

    def _contents_of_cluster(self) -> dict[str, str]:
        contents = {}
        for path in self._cluster_files():
            with open(path, encoding="utf-8") as file:
                contents[path] = file.read()
        return contents

    def _describe_object(self, path: str) -> Iterator[str]:
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if not line.startswith("#")]
        if path in self._status_objects() or self._options.show_contents:
            yield from lines
        else:
            yield f"(a Secret of {len(lines)} lines; --show-contents prints it)"

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self._playground.root)
