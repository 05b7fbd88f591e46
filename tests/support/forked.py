"""A piece of a test in a forked child: what it does to its process is gone with it."""

import os
import traceback
from collections.abc import Callable
from typing import NoReturn


def in_child(action: Callable[[], str | None]) -> str:
    """What `action`, or the program that it execs, writes to stdout or returns. Fails when it raises."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(action, writer)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as output:
        text = output.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}:\n{text}"
    return text


def _run(action: Callable[[], str | None], writer: int) -> NoReturn:
    code = 1
    try:
        os.dup2(writer, 1)
        text = action()
        os.write(1, (text or "").encode())
        code = 0
    except BaseException:  # noqa: BLE001 - the parent shows it
        os.write(1, traceback.format_exc().encode())
    finally:
        os._exit(code)
