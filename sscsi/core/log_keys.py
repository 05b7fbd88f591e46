"""The keys of log fields. A field whose key is not here is not written: a closed list keeps secrets out."""

METHOD = "method"
CODE = "code"
SECONDS = "seconds"
VOLUME_ID = "volume_id"
TARGET_PATH = "target_path"
POD = "pod"
CLASS = "class"
PROVIDER = "provider"
VERSIONS = "versions"
FLAG = "flag"
REASON = "reason"
STAGES = "seconds_by_stage"
ERROR = "error"
STACK = "stack"
PATH = "path"
COUNT = "count"
OBJECT = "object"
SIGNAL = "signal_name"
BYTES = "bytes"
PROGRAM = "program"
PID = "pid"
STATE = "state"
ADDRESS = "address"
DRIVER = "driver"
TRIGGER = "trigger"
SHARED = "shared"

ALL = (
    METHOD,
    CODE,
    SECONDS,
    VOLUME_ID,
    TARGET_PATH,
    POD,
    CLASS,
    PROVIDER,
    VERSIONS,
    FLAG,
    REASON,
    PATH,
    COUNT,
    OBJECT,
    SIGNAL,
    BYTES,
    PROGRAM,
    PID,
    STATE,
    ADDRESS,
    DRIVER,
    TRIGGER,
    SHARED,
    STAGES,
    ERROR,
    STACK,
)
