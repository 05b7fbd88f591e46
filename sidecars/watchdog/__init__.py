"""The watchdog room: what every program of the appliance does, as supervisord tells it and as the kernel measures it.

Who calls it: supervisord, as an event listener (protocol 3.0 on stdin and stdout, logs on stderr only). It wants the
events PROCESS_STATE, SUPERVISOR_STATE_CHANGE and TICK_5, and says READY before anything else.

Sockets: none. Reads: the process table (psutil), the container's cgroup (v2). Writes: `$SSCSI_RUN_DIR/watchdog.json`
(0640, the directory's group), replaced by rename on each change of a state and every five seconds; the liveness
probe's metrics and `sscsi status` read it. It is written by whoever holds `watchdog.json.lock`: in a second appliance
in the same run directory the watchdog writes nothing, says so once, and goes on when the first one has ended. Its own
predecessor's file is where it goes on counting: supervisord keeps the events of the time between, and the file has the
number of the last one that is counted in it.

What it does:
- Measures each program. Memory is what the budgets are about: PSS, where pages shared with other programs count in
  part, every half minute, or at once when the resident memory (RSS, where they count in full) is over the budget.
- Ends a program that is over its budget (`--memory-budgets`) in three measurements in a row, fifteen seconds: SIGTERM,
  and SIGKILL when it is still there after `--stop-grace`. supervisord starts it again. supervisord itself has no budget,
  and the content of volumes (tmpfs) is no program's memory: the container's figure has it.
- Ends supervisord (SIGTERM, once), and with it the container, when node or registrar is FATAL or ended five times in
  two minutes. Under `sscsi run` (SSCSI_SUPERVISOR_PID is set) that is `sscsi run`'s own decision.

Rights: it runs as root with two capabilities. Without SYS_PTRACE no PSS can be read: `pss_bytes` is null, and budgets
are held against RSS, which for programs forked from one parent is some 25 MiB more each. Without KILL it can't end
programs of other users (the liveness probe); it says so once, and goes on. Where there is no cgroup v2, `container` is null.

How it stops: SIGTERM, code 0, also in the middle of an event, which supervisord keeps for the next one. When its stdin
closes: code 0 if supervisord is stopping, else 1; also 1 for what is no event. A full disk costs the file, not the room.
"""
