"""The registrar room: it makes kubelet know the driver, and keeps it known. Stands in for node-driver-registrar.

Who calls it: kubelet, `pluginregistration.Registration` (`GetInfo`, then `NotifyRegistrationStatus`), for each socket
that appears in its plugin directory; a health page, `/healthz`, where `--http-endpoint` asks for one; status pages,
`sscsi.v1.Room/Status`.

Sockets: serves `DIR/<driver>-reg.sock` (0700, DIR is `--plugin-registration-path`) and
`$SSCSI_RUN_DIR/registrar.sock` (with `--run-dir`). Calls `csi.v1.Identity/GetPluginInfo` at `--csi-address`, and
`pluginregistration.Registration/GetInfo` on other sockets in DIR when they are new: one that tells our driver's name is told of.

Reads and writes: nothing but these sockets and the lock file beside each.

How it works, over and over: wait for the driver to tell its name; put the registration socket in its place once it
answers; wait for kubelet to confirm; stay until something is wrong. Wrong is: kubelet refuses (it never tries the same
socket again); the socket is gone or somebody else's; kubelet asked, for the first time or anew, and never said how it
ended. Then the socket is
withdrawn and all begins anew, with a growing pause when it keeps going wrong. A live server at the path is waited for,
never replaced. A driver that restarts is none of the registrar's business: kubelet knows it by path.

The driver is asked its name before each publication, and only then. One that comes back under another name is
published under that with the next publication; start the registrar anew after such a change.

How it stops: SIGTERM or SIGINT unlinks the registration socket, upon which kubelet forgets the driver; exit code 0.
Code 1: something that only a person can mend (the message names it), 2: a wrong command line.
"""
