"""A program that logs more than a pipe takes, run by the tests of the log.

`python -m tests.support.chatty LINES text|json thread|alone`: logs LINES lines, says `logged` and its number of threads
on stdout, waits for a line on stdin, logs one more and ends.
"""

import logging
import os
import sys

from sscsi.core.log_keys import COUNT
from sscsi.process import logs

log = logging.getLogger("sscsi.chatty")


def main() -> int:
    lines, form, threads = sys.argv[1:]
    logs.configure("chatty", as_json=form == "json", verbosity=0, has_thread=threads == "thread")
    for number in range(int(lines)):
        log.info("a line", extra={COUNT: number})
    sys.stdout.write(f"logged {len(os.listdir('/proc/self/task'))}\n")
    sys.stdout.flush()
    sys.stdin.readline()
    log.info("the last line")
    return 0


if __name__ == "__main__":
    sys.exit(main())
