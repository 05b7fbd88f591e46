"""The status-sync room: what the cluster knows of this node's volumes, and what the node knows of classes.

Who calls it: the node room, `sscsi.v1.Classes` (`Get` for every publish that has no fresh class, `EnsureSecrets`
for the first publish of a class with `secretObjects`); health pages and operators, `sscsi.v1.Room/Status`.

Sockets: serves `$SSCSI_RUN_DIR/statussync.sock` (0600) and `statussync-state.sock` (0660). Calls `sscsi.v1.Volumes/Watch` on
`$SSCSI_RUN_DIR/node.sock`, for as long as it lives, and `AskRefresh` with what annotations ask for, when that changes and after each
snapshot; the node room may be away, late, or start anew. Asks the driver's name once, at `probe.sock`: which CSIDriver object is to be
looked at, when it says at its start what of the installation in the cluster is amiss.

Reads: classes, from the cluster (`--cluster=dir:PATH`: *.yaml, *.yml and *.json directly in PATH); the files that
`secretObjects` name, from the volumes that the node room tells of. Writes: SecretProviderClassPodStatus and Secret
objects (PATH/status, files 0600, directories 0700); Events on pods, where the cluster has them. One process writes to one PATH, which is of one node.

How it works: the set of published volumes is all it remembers. From it and the classes follows what each object
shall be; a queue of objects' names is worked off, each made so, or removed when nothing wants it. A snapshot of
the node room (at each connection, and every five minutes) queues everything, so that nothing missed stays missed.
Nothing is removed before the first snapshot, nor in a namespace where a class that volumes use can't be read.

How it stops: SIGTERM refuses new calls, gives those under way `--stop-grace`, ends the watch and the queue (the
next start makes a full pass), removes the socket, exit code 0. Code 1 when the socket was replaced under it.
"""
