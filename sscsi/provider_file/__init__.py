"""The file provider: a secrets store provider that serves files of one directory tree of the node.

Who calls it: the node room, as it calls every provider (`v1alpha1.CSIDriverProvider`, name `file`), and whoever
asks for its state (`sscsi.v1.Room`), both on `$SSCSI_RUN_DIR/providers/file.sock` (0600).

What it reads: the directory `--root`, and nothing that is not below it, links included. With `--by-namespace`
(the default, and a must in a cluster) a pod's objects are below ROOT/<namespace of the pod>: whoever may make
pods in a namespace may read all of that directory, as the pod's volume attributes overlay the class.

The class's parameter `objects` is a YAML list (or, as other providers have it, `array:` with a YAML text for
each entry); its fields:

- `objectName`: a path, or a glob: `*`, `?` and `[...]` within a name, `**` for any number of directories. A glob
  leaves out directories and, unless it spells the dot, names that start with one; no match is an error. A
  file whose own name has one of `*?[` is asked for as `[*]`, `[?]`, `[[]`.
- `objectAlias`: the path in the volume, by default the object's own. With a `/` at its end it is a directory.
- `fileMode`: four octal digits; by default what the driver asks for (0644).
- `jsonKeys`: `"*"`, or a list of top-level keys (or of `key`, `objectAlias`, `fileMode`): each becomes a file
  named like the key, below the entry's alias if it has one; the document itself is not delivered. Strings are
  delivered as they are, other values as compact JSON.

What it answers: all files, each time, and for each object its id (the path below the directory, with `#KEY` for
a key of a JSON document) and its version, a keyed hash of its content.

What it writes: `$SSCSI_RUN_DIR/providers` if that is missing, and once `$SSCSI_RUN_DIR/provider-file.key`.

How it stops: SIGTERM; running calls get `--stop-grace`. It ends by itself, with code 1, when another program
takes its socket's path.
"""
