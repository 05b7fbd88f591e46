"""Names of what is in the run directory. The rooms find one another by them.

Two kinds of sockets. `node.sock` and `statussync.sock` (0600) carry what only root may ask for; `probe.sock` and the
state sockets (0660, of the directory's group) carry what a health page may show, and nothing that changes anything.
"""

NODE = "node.sock"
STATUSSYNC = "statussync.sock"
PROBE = "probe.sock"
WATCHDOG_STATE = "watchdog.json"
PROVIDERS = "providers"
FILE_PROVIDER = "providers/file.sock"

# Room by room, the socket that serves `sscsi.v1.Room`.
STATE_SOCKETS = {
    "node": "node-state.sock",
    "registrar": "registrar.sock",
    "statussync": "statussync-state.sock",
}
