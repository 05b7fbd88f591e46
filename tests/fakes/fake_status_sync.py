"""Status-sync for tests of the node room: a real gRPC server with classes in a dictionary."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.edges.class_messages import class_to_message
from sscsi.pb import sscsi_pb2, sscsi_pb2_grpc

NOT_FOUND = 'SecretProviderClass.secrets-store.csi.x-k8s.io "{}" not found'


def make_class(
    name: str = "app",
    *,
    namespace: str = "default",
    provider: str = "fake",
    parameters: dict[str, str] | None = None,
    generation: int = 1,
    with_secret: bool = False,
    annotations: dict[str, str] | None = None,
) -> SecretProviderClass:
    data = (SecretObjectData(object_name="secret", key="k"),)
    wanted = SecretObject(secret_name="s", type="Opaque", labels={}, annotations={}, data=data)
    return SecretProviderClass(
        namespace=namespace,
        name=name,
        uid=f"uid-of-{namespace}-{name}",
        generation=generation,
        annotations=annotations or {},
        provider=provider,
        parameters={"objects": "any"} if parameters is None else parameters,
        secret_objects=(wanted,) if with_secret else (),
    )


class FakeStatusSync(sscsi_pb2_grpc.ClassesServicer):
    """Answers from `classes`; `error` goes before. `ensured` keeps the volumes whose Secrets were asked for, which
    `ensure_hold` makes wait until it is set (it is set at first) and `ensure_error` makes fail.
    """

    def __init__(self) -> None:
        self.classes: dict[tuple[str, str], SecretProviderClass] = {}
        self.error: tuple[grpc.StatusCode, str] | None = None
        self.calls = 0
        self.ensured: list[sscsi_pb2.Volume] = []
        self.ensure_hold = threading.Event()
        self.ensure_hold.set()
        self.ensure_error: tuple[grpc.StatusCode, str] | None = None

    def add(self, *classes: SecretProviderClass) -> None:
        self.classes.update({(each.namespace, each.name): each for each in classes})

    def Get(
        self, request: sscsi_pb2.GetClassRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.SecretProviderClass:
        self.calls += 1
        if self.error is not None:
            context.abort(*self.error)
        found = self.classes.get((request.namespace, request.name))
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, NOT_FOUND.format(request.name))
        return class_to_message(found)

    def EnsureSecrets(
        self, request: sscsi_pb2.EnsureSecretsRequest, context: grpc.ServicerContext
    ) -> sscsi_pb2.EnsureSecretsResponse:
        self.ensured.append(request.volume)
        self.ensure_hold.wait(120)
        if self.ensure_error is not None:
            context.abort(*self.ensure_error)
        return sscsi_pb2.EnsureSecretsResponse()


@contextlib.contextmanager
def serving(status_sync: FakeStatusSync, socket_path: str) -> Iterator[FakeStatusSync]:
    """Serve on `socket_path` until the block ends."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    sscsi_pb2_grpc.add_ClassesServicer_to_server(status_sync, server)
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    try:
        yield status_sync
    finally:
        status_sync.ensure_hold.set()
        server.stop(0).wait()
