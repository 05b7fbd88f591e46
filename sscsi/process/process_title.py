"""The name that `ps`, `top` and /proc show for a process which was forked and not started by exec."""

import ctypes
import os

_PR_SET_NAME = 15
# Of proc_pid_stat(5), counted from the field behind the command's name, which is the third.
_ARG_START, _ARG_END = 48 - 3, 49 - 3


def set_title(title: str) -> None:
    """Show this process as `title`: the program's name, and behind spaces the arguments, as many as there is room for.

    The room is the memory of the command line that this process, or an ancestor that forked it, was started with.
    Where the kernel does not tell where that is, only the short name (15 bytes) is set.
    """
    words = os.fsencode(title).split()
    if not words:
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(words[0]), 0, 0, 0)
    start, end = _command_line()
    # The area ends in a NUL: anything else there makes the kernel read on into the environment.
    room = end - start - 1
    if start and room > 0:
        ctypes.memmove(start, _fit(words, room).ljust(room + 1, b"\0"), room + 1)


def _command_line() -> tuple[int, int]:
    """First address and end of the arguments; (0, 0) when the kernel does not say."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, IndexError, ValueError):
        return 0, 0


def _fit(words: list[bytes], room: int) -> bytes:
    """The words with a NUL behind each, as in a command line; the first is cut, others are left out."""
    text = words[0][:room]
    for word in words[1:]:
        if len(text) + 1 + len(word) > room:
            break
        text += b"\0" + word
    return text
