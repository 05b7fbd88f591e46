"""The node room: CSI Identity and Node for kubelet, content from providers, tmpfs volumes.

Who calls it: kubelet on `--endpoint` (a new connection for every RPC), the liveness probe on
`$SSCSI_RUN_DIR/probe.sock` (Identity only) and `node-state.sock` (`sscsi.v1.Room`), status-sync and the operator's
command on `node.sock` (`sscsi.v1.Volumes`).
Whom it calls: providers on their sockets, status-sync on `$SSCSI_RUN_DIR/statussync.sock`. Never the API.
What it reads and writes: tmpfs mounts at target paths and their files; `/proc/self/mountinfo`, which at the start, too, tells whether mounts
will reach the pods; one record a volume in `$SSCSI_STATE_DIR`.
How it stops: SIGTERM refuses new calls, lets those in flight finish for `--stop-grace`, cancels the rest,
unlinks its sockets and leaves with 0. Mounts stay: pods go on reading. It ends with 1 by itself when one of
its sockets was replaced under it; supervisord starts it again.
"""
