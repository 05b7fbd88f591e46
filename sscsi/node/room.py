"""The node room put together from its parts, and its life from start to stop."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

import grpc

from sscsi.core import log_keys, mount_info, run_files
from sscsi.core.prometheus import Family
from sscsi.edges.classes_grpc import StatusSyncClasses
from sscsi.edges.grpc_status import NO_ANSWERS, VOLUMES_CODES, ErrorCodes, StatusInterceptor
from sscsi.edges.kubelet_files import driver_of
from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.edges.quick_lane import QuickLane
from sscsi.edges.room_status import state_server
from sscsi.edges.tcp_server import TcpServer
from sscsi.edges.unix_socket import AddServices, SocketServer
from sscsi.node import node_state
from sscsi.node.admission import Admission
from sscsi.node.audit import make_audit_log
from sscsi.node.class_cache import ClassCache
from sscsi.node.config import NodeConfig
from sscsi.node.heal import Healer
from sscsi.node.identity_service import IdentityService
from sscsi.node.metrics import NodeMetrics
from sscsi.node.node_service import NodeService
from sscsi.node.node_state import NodeState
from sscsi.node.provider_health import ProviderHealth
from sscsi.node.publish import Publisher
from sscsi.node.refresh_parts import RefreshParts
from sscsi.node.unpublish import Unpublisher
from sscsi.node.volume_figures import health_families, unpublished_family
from sscsi.node.volume_mounts import VolumeMounts
from sscsi.node.volumes import Volumes
from sscsi.node.volumes_service import VolumesService
from sscsi.pb import csi_pb2_grpc, sscsi_pb2_grpc
from sscsi.ports import FileTrees, Mounter, RecordStore
from sscsi.process.thread_pool import BlockingAwarePool, blocked_here

log = logging.getLogger(__name__)

# Calls that run at once; those that wait for a provider do not count. More only fight for the interpreter: with three
# on two processors, 100 publishes in flight took a fifth less time than with sixteen (measured).
_RUNNING_LIMIT = max(2, (os.cpu_count() or 1) + 1)
# Everything that is done with the kernel alone, at once: it never queues behind publishes (design P10).
_QUICK_METHODS = frozenset(
    {
        "Probe",
        "GetPluginInfo",
        "GetPluginCapabilities",
        "NodeGetInfo",
        "NodeGetCapabilities",
        "NodeGetVolumeStats",
        "NodeUnpublishVolume",
    }
)
_QUICK_THREADS = 4
_CLASS_FRESH_SECONDS = 1.0
_WATCH_SECONDS = 1.0
_ROOT_ONLY = 0o600
# The liveness probe runs under its own uid; the run directory's mode and group say who gets this far.
_PROBE_MODE = 0o660


class NodeRoom:
    """Every object of the room, made once. The three effects on the node come from outside: tests wrap them.

    `place_problems` are what is wrong with the container's mounts; they are shown for as long as it lives.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        mounter: Mounter,
        trees: FileTrees,
        store: RecordStore,
        place_problems: Sequence[str] = (),
    ) -> None:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        self._stop_grace_seconds = config.stop_grace_seconds
        self._pool = BlockingAwarePool("publish", running_limit=_RUNNING_LIMIT)
        self._quick_pool = futures.ThreadPoolExecutor(_QUICK_THREADS, "quick")
        self._volumes = Volumes(store)
        self._healer = Healer(
            mounter=mounter,
            trees=trees,
            store=store,
            volumes=self._volumes,
            boot_id=boot_id,
            driver_name=config.driver_name,
            driver_of=driver_of,
        )
        self._status_sync = StatusSyncClasses(os.path.join(config.run_directory, run_files.STATUSSYNC))
        self._providers = ProviderSockets(
            config.provider_directories, max_answer_bytes=config.max_answer_bytes
        )
        self._admission = Admission(
            places_per_provider=config.max_publishes_per_provider, max_waiting=config.max_waiting_publishes
        )
        node_id = config.node_id or socket.gethostname()
        self._metrics = NodeMetrics()
        self._audit = make_audit_log(config.audit_log, node_id)
        classes = ClassCache(self._status_sync, fresh_seconds=_CLASS_FRESH_SECONDS)
        mounts = VolumeMounts(mounter, content_limit_bytes=config.content_limit_bytes)
        self._refreshes = RefreshParts(
            config,
            trees=trees,
            mounts=mounts,
            volumes=self._volumes,
            classes=classes,
            providers=self._providers,
            metrics=self._metrics,
            audit=self._audit,
            publish_pool=self._pool,
            boot_id=boot_id,
        )
        publisher = Publisher(
            mounter=mounter,
            mounts=mounts,
            trees=trees,
            volumes=self._volumes,
            classes=classes,
            secrets=self._status_sync,
            delivery=self._refreshes.delivery,
            refresher=self._refreshes.refresher,
            admission=self._admission,
            metrics=self._metrics,
            approaches=self._refreshes.approaches,
            secret_wait_seconds=config.secret_wait_seconds,
            boot_id=boot_id,
            waiting=blocked_here,
        )
        self._identity = IdentityService(config.driver_name)
        self._node = NodeService(
            node_id=node_id,
            publisher=publisher,
            unpublisher=Unpublisher(
                mounter=mounter,
                trees=trees,
                volumes=self._volumes,
                forget=self._refreshes.refresher.forget,
                waiting=blocked_here,
            ),
            metrics=self._metrics,
            announce=self._refreshes.approaches.announce,
            mounter=mounter,
            trees=trees,
            volumes=self._volumes,
        )
        self._volumes_service = VolumesService(self._volumes, self._refreshes.desk, self._pool.blocked)
        self._health = ProviderHealth(
            self._providers, interval_seconds=config.provider_health_check_interval_seconds
        )
        self._checks_health = config.provider_health_check
        self._config_problems = config.interval_problems
        self._state = NodeState(
            self._volumes,
            self._providers.names,
            figures=self._refreshes.figures,
            health=self._health,
            gates=self._refreshes.gates,
            lasting_problems=(*config.interval_problems, *place_problems),
            socket_path=config.endpoint.address,
        )
        # At once, so that others see that the room lives, and what it waits for.
        self._early_servers = (
            state_server(config.run_directory, "node", self._state.look, self._families),
            self._socket(
                os.path.join(config.run_directory, run_files.PROBE), _PROBE_MODE, self._add_identity
            ),
        )
        # In this order: kubelet comes last, when everything behind it is there.
        self._endpoint = self._endpoint_server(config)
        self._servers = (
            self._socket(
                os.path.join(config.run_directory, run_files.NODE),
                _ROOT_ONLY,
                self._add_volumes,
                VOLUMES_CODES,
            ),
            self._endpoint,
        )

    def serve(self, stop: threading.Event) -> int:
        """Heal, serve until `stop` is set, leave in order. The exit code."""
        everything = (*self._early_servers, *self._servers)
        for server in everything:
            server.check()
        try:
            if not all(server.serve(stop) for server in self._early_servers):
                return 0
            # A predecessor that still serves kubelet writes the very volumes and records that are healed.
            if not self._endpoint.claim(stop):
                return 0
            self._state.phase = node_state.HEALING
            with open("/proc/self/mountinfo", "rb") as file:
                self._healer.heal(list(mount_info.parse(file.read())))
            for problem in self._config_problems:
                log.warning("a flag makes no sense", extra={log_keys.REASON: problem})
            self._refreshes.start()
            if self._checks_health:
                self._health.start()
            if not all(server.serve(stop) for server in self._servers):
                return 0
            self._state.phase = node_state.SERVING
            return self._stay(everything, stop)
        finally:
            self._leave()

    def _stay(self, servers: Sequence[SocketServer | TcpServer], stop: threading.Event) -> int:
        """Until asked to stop, or until something that must not happen did."""
        while not stop.wait(_WATCH_SECONDS):
            for server in servers:
                if not server.is_ours():
                    log.error(
                        "the socket was replaced or removed; starting anew",
                        extra={log_keys.PATH: server.path},
                    )
                    return 1
            if not self._refreshes.is_alive():
                log.error("the refresh clock ended unasked")
                return 1
        return 0

    def _leave(self) -> None:
        """Refuse new calls, let those in flight finish, cancel the rest, give the sockets up."""
        self._state.phase = node_state.STOPPING
        self._admission.close()
        self._health.stop()
        self._refreshes.stop()
        self._volumes.end_watches()
        stopped = [server.stop_accepting(self._stop_grace_seconds) for server in self._servers]
        for event in stopped:
            event.wait()
        self._refreshes.break_off()
        self._providers.close()
        self._status_sync.close()
        self._pool.shutdown()
        self._refreshes.close()
        self._health.close()
        for early in self._early_servers:
            early.stop_accepting(0).wait()
        self._quick_pool.shutdown()
        for server in (*self._servers, *self._early_servers):
            server.close()
        self._audit.close()

    def _endpoint_server(self, config: NodeConfig) -> SocketServer | TcpServer:
        if config.endpoint.scheme == "tcp":
            return TcpServer(
                config.endpoint.address,
                add_services=self._add_csi,
                pool=self._pool,
                interceptors=self._interceptors(),
            )
        return self._socket(config.endpoint.address, _ROOT_ONLY, self._add_csi, on_wait=self._state.wait_for)

    def _socket(
        self,
        path: str,
        mode: int,
        add_services: AddServices,
        answers: ErrorCodes = NO_ANSWERS,
        *,
        on_wait: Callable[[str], None] | None = None,
    ) -> SocketServer:
        return SocketServer(
            path,
            mode=mode,
            add_services=add_services,
            pool=self._pool,
            interceptors=self._interceptors(answers),
            on_wait=on_wait,
        )

    def _families(self) -> list[Family]:
        return [
            *self._metrics.families(),
            *self._refreshes.families(),
            unpublished_family(len(self._volumes.failed())),
            *health_families(self._health.states()),
        ]

    def _add_csi(self, server: grpc.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(self._identity, server)
        csi_pb2_grpc.add_NodeServicer_to_server(self._node, server)

    def _add_identity(self, server: grpc.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(self._identity, server)

    def _add_volumes(self, server: grpc.Server) -> None:
        sscsi_pb2_grpc.add_VolumesServicer_to_server(self._volumes_service, server)

    def _interceptors(self, answers: ErrorCodes = NO_ANSWERS) -> list[grpc.ServerInterceptor]:
        return [QuickLane(_QUICK_METHODS, self._quick_pool), StatusInterceptor(answers)]
