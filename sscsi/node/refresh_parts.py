"""Everything about refreshes, put together: the room has it as one thing."""

import time

from sscsi.core.prometheus import Family
from sscsi.node.audit import AuditLog
from sscsi.node.call_observer import ProviderCallObserver
from sscsi.node.class_cache import ClassCache
from sscsi.node.config import NodeConfig
from sscsi.node.delivery import Delivery
from sscsi.node.kept_requests import KeptRequests
from sscsi.node.metrics import NodeMetrics
from sscsi.node.provider_fetch import ProviderFetch
from sscsi.node.provider_gates import ProviderGates
from sscsi.node.refresh import Refresher
from sscsi.node.refresh_asks import RefreshAsks
from sscsi.node.refresh_clock import RefreshClock
from sscsi.node.refresh_desk import RefreshDesk
from sscsi.node.refresh_failures import RefreshFailures
from sscsi.node.refresh_pass import RefreshPass
from sscsi.node.refresh_plans import RefreshPlans, RefreshSettings
from sscsi.node.refresh_schedule import RefreshSchedule
from sscsi.node.shared_calls import Approaches, Gathering, SharedCalls
from sscsi.node.volume_figures import VolumeFigures, circuit_families, volume_families
from sscsi.node.volume_mounts import VolumeMounts
from sscsi.node.volumes import Volumes
from sscsi.ports import FileTrees, Providers
from sscsi.process.thread_pool import BlockingAwarePool, blocked_here

# Starting pods go before: refreshes have one turn between them, while the publishes' pool has several.
_RUNNING_REFRESHES = 1
# What one refresh may take beside the provider's own time.
_REFRESH_MARGIN_SECONDS = 15.0


class RefreshParts:
    """The objects that refresh volumes, and those that refreshes and first publishes have in common."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        trees: FileTrees,
        mounts: VolumeMounts,
        volumes: Volumes,
        classes: ClassCache,
        providers: Providers,
        metrics: NodeMetrics,
        audit: AuditLog,
        publish_pool: BlockingAwarePool,
        boot_id: str,
    ) -> None:
        self._volumes = volumes
        self._publish_pool = publish_pool
        self._pool = BlockingAwarePool("refresh", running_limit=_RUNNING_REFRESHES)
        self.approaches = Approaches()
        self.gates = ProviderGates(
            calls_per_second=config.max_refreshes_per_second,
            burst=config.max_refreshes_per_second,
            places=config.max_refreshes_per_provider,
        )
        asks, kept = RefreshAsks(), KeptRequests()
        self._schedule = RefreshSchedule(own_clock=config.own_clock)
        self.delivery = Delivery(
            mounts=mounts,
            trees=trees,
            volumes=volumes,
            classes=classes,
            provider_fetch=ProviderFetch(
                providers,
                timeout_seconds=config.provider_timeout_seconds,
                content_limit_bytes=config.content_limit_bytes,
                waiting=blocked_here,
                shared_calls=SharedCalls(
                    gather=Gathering(self._is_anybody_coming, waiting=blocked_here).wait, waiting=blocked_here
                ),
                sharing_providers=config.sharing_providers,
                observer=ProviderCallObserver(metrics, self.gates),
            ),
            asks=asks,
            boot_id=boot_id,
            waiting=blocked_here,
        )
        plans = RefreshPlans(
            schedule=self._schedule,
            volumes=volumes,
            settings=RefreshSettings(rotation=config.rotation, interval=config.interval),
        )
        self.refresher = Refresher(
            delivery=self.delivery,
            passes=RefreshPass(delivery=self.delivery, volumes=volumes, trees=trees, waiting=blocked_here),
            volumes=volumes,
            schedule=self._schedule,
            plans=plans,
            failures=RefreshFailures(volumes=volumes, trees=trees),
            kept=kept,
            gates=self.gates,
            asks=asks,
            metrics=metrics,
            audit=audit,
        )
        self.desk = RefreshDesk(
            volumes=volumes, schedule=self._schedule, asks=asks, classes=classes, waiting=blocked_here
        )
        self._clock = RefreshClock(
            volumes=volumes,
            schedule=self._schedule,
            refresher=self.refresher,
            gates=self.gates,
            kept=kept,
            metrics=metrics,
            submit=self._pool.submit,
            timeout_seconds=config.provider_timeout_seconds + _REFRESH_MARGIN_SECONDS,
        )

    def start(self) -> None:
        """Take up the volumes that are there, and begin to refresh what is due."""
        for record in self._volumes.all():
            self.refresher.found(record)
        self._clock.start()

    def is_alive(self) -> bool:
        """Whether the clock runs."""
        return self._clock.is_alive()

    def stop(self) -> None:
        """Begin no more refreshes."""
        self._clock.stop()

    def close(self) -> None:
        """Wait for the refreshes under way, whose calls to providers were broken off."""
        self._pool.shutdown()

    def break_off(self) -> None:
        """The calls to providers are about to be broken off."""
        self.refresher.close()

    def figures(self) -> list[VolumeFigures]:
        """What metrics and the state page tell of each volume."""
        times = self.desk.times()
        return [
            VolumeFigures(
                namespace=record.pod_namespace,
                class_name=record.class_name,
                provider=record.provider,
                success_time=record.success_time,
                interval_seconds=plan.interval_seconds,
                due_time=plan.due_time,
                is_failing=bool(record.last_error),
            )
            for record in self._volumes.all()
            if (plan := times.get(record.target_path)) is not None
        ]

    def families(self) -> list[Family]:
        """The gauges of now."""
        return [
            *volume_families(self.figures(), time.time()),
            *circuit_families(self.gates.circuits()),
        ]

    def _is_anybody_coming(self) -> bool:
        """Whether publishes are about to ask, perhaps the same as one that may be shared."""
        return bool(self.approaches.count or self._publish_pool.queued)
