"""Every exception that a caller can act on.

One class per thing that a caller can do differently. Which gRPC status each becomes is decided in one
place, `sscsi.edges.grpc_status`; a test walks all subclasses of `SscsiError` and asks for a row each.
Messages name what could not be done and the value; never a secret, a token or a file's content.
"""


class SscsiError(Exception):
    """Base of all errors that the appliance raises on purpose."""


class ConfigError(SscsiError):
    """A flag, a variable or the machine does not allow the process to start.

    Raised by each room's `config.parse` and wiring. The message names the flag or path and the cure;
    `exit_code` is 2 for a wrong command line (as Go's flag package exits) and 1 for a machine that
    lacks something.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DiskFullError(ConfigError):
    """There is no room for a directory of the appliance; whoever can do without it goes on."""


class InvalidRequestError(SscsiError):
    """The CSI request itself is wrong; the caller must change it. Raised while parsing."""


class ClassMissingInRequestError(SscsiError):
    """The pod's volume has no `secretProviderClass` attribute; the pod's author must add it."""


class ClassNotFoundError(SscsiError):
    """No SecretProviderClass of that name is in that namespace; create it, kubelet tries again."""


class ClassInvalidError(SscsiError):
    """The SecretProviderClass is there and can't be used: the message names the field to mend."""


class ClusterUnavailableError(SscsiError):
    """The cluster, or status-sync before it, can't be asked now; try again later."""


class ReviewRefusedError(SscsiError):
    """The API server answers, but does not tell what our account may do; what rests on that can't be told."""


class RoomUnavailableError(SscsiError):
    """Another room of the appliance does not answer now; connect again later, it may be starting."""


class ObjectNotOursError(SscsiError):
    """An object that status-sync shall write is there already and somebody else's; rename one of the two."""


class DriverUnreachableError(SscsiError):
    """Nobody at the CSI socket takes a call; the driver may be starting: try again, or look at its log.

    `reason` is one of `sscsi.edges.csi_identity.CONNECT_FAILURES`, in one word for a metric's label.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DriverCallError(SscsiError):
    """The CSI driver answered the call with an error, or did not answer in time; its log says more.

    The message is what a Go client would print; `code` is the gRPC status code's number.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class ProviderNotFoundError(SscsiError):
    """No socket of that provider is in any provider directory: install or start the provider."""


class ProviderCallError(SscsiError):
    """The provider answered the call with an error, or did not answer in time.

    `code` is the gRPC status code's number, passed on to kubelet, which decides by it whether the
    volume is certainly absent.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class ProviderAnswerError(SscsiError):
    """The provider's answer can't be used: an error code in it, no versions, a path or mode that is wrong.

    `provider_code` is the error code in it, in the provider's own words; empty when it has none.
    """

    def __init__(self, message: str, *, provider_code: str = "") -> None:
        super().__init__(message)
        self.provider_code = provider_code


class ContentTooLargeError(SscsiError):
    """The content does not fit the volume; raise the limit that the message names, or deliver less."""


class UnsupportedError(SscsiError):
    """The RPC is part of CSI and makes no sense for this driver (CSI: UNIMPLEMENTED)."""


class VolumeBusyError(SscsiError):
    """Another call for the same target path is under way; kubelet tries again."""


class OverloadedError(SscsiError):
    """Too many publishes are under way; kubelet tries again."""


class StoppingError(SscsiError):
    """The process is stopping and takes no new work."""


class TargetPathError(SscsiError):
    """The target path can't be looked at, made or cleaned; the message says which and why."""


class MountError(SscsiError):
    """The kernel refused to mount or unmount; the message has the errno's name."""


class PropagationError(SscsiError):
    """A mount made here would not reach the host, so the pod would see an empty directory; nor are the host's seen here."""


class ContentNotProvenError(SscsiError):
    """Everything was done and the content is still not in place; nothing may be reported as published."""


class VolumeNotFoundError(SscsiError):
    """The path asked about is no volume of this driver."""


class RecordError(SscsiError):
    """A record could not be written anywhere; the volume works, but a restart will not know it."""


class SecretDataError(SscsiError):
    """A Kubernetes Secret can't be built from the volume; the message names the class's field."""


class SocketBusyError(SscsiError):
    """Another live server holds the socket path; wait for it, never take it."""


class ObjectError(SscsiError):
    """The file provider can't deliver an object of the class; the message names it."""
