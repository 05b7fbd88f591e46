"""The operator's command `sscsi`.

`sscsi run` is what the container starts: it fills in every setting, checks what would keep a room from
starting, and runs supervisord with `supervisord.conf` in its own process. It reads its arguments and the
environment, makes the run directory, listens on nothing. SIGTERM or SIGINT stops the programs in the file's
order; the exit code is then 0. It is 2 for a wrong command line or variable, 1 for a machine that lacks
something.

`sscsi demo` starts `sscsi run` in a private mount namespace and plays kubelet on its CSI socket.
"""
