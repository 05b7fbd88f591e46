"""The liveness probe's room: HTTP pages that say whether the driver works, and what it did.

Who calls it: kubelet's probes, `/healthz`, `/livez` and `/readyz`; Prometheus, `/metrics` (docs/health.md, docs/metrics.md).

Sockets: listens on TCP, at `--http-endpoint` (or `--health-port`), `--metrics-address` and
`--appliance-metrics-address`; at once, before there is any driver. Calls CSI Identity at `--csi-address`, in the
appliance `$SSCSI_RUN_DIR/probe.sock`, over a connection of its own for each probe; and `sscsi.v1.Room/Status` and `Metrics` on
the state sockets of the other rooms, one long-lived channel each.

Reads: `$SSCSI_RUN_DIR/watchdog.json`, at each scrape. Writes: nothing. It needs no privilege but to enter the run
directory by its group, and is the only program that strangers can talk to.

How it works: `/healthz` is a CSI Probe and nothing else, as upstream's; a connection that is refused is told at once.
`/livez` says that this program answers. `/readyz` and `/metrics` look at answers that are a second old at most; two
that come together ask once, and a room that hangs delays a page by a fraction of a second, once.

How it stops: SIGTERM closes the listeners, ends the calls under way, exit code 0 at once. Code 1 when an address
can't be had, or a listener ends by itself.
"""
