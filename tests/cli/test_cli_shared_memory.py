"""What `sscsi run` does to its own memory before the first fork. Each test in a process of its own: it is for good."""

import platform
import subprocess
import sys
import sysconfig
import textwrap

from sscsi.cli.immortal_objects import is_possible


def output_of(script: str) -> list[str]:
    """The lines that `script` prints in a fresh interpreter, which must end well."""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


def test_everything_that_programs_share_is_imported_with_one_thread_and_without_openssl() -> None:
    lines = output_of("""
        import os, sys
        from sscsi.cli import shared_memory
        with shared_memory.without_openssl():
            import sscsi.cli.run
        shared_memory.import_shared()
        print(len(os.listdir("/proc/self/task")))
        with open("/proc/self/maps") as maps:
            print("libcrypto" in maps.read())
        print("sidecars.registrar.__main__" in sys.modules, "grpc._server" in sys.modules)
    """)
    assert lines == ["1", "False", "True True"]


def test_hashes_are_right_and_openssl_can_be_had_afterwards() -> None:
    lines = output_of("""
        import os
        from sscsi.cli import shared_memory
        shared_memory.import_shared()
        import hashlib
        print(hashlib.sha256(b"abc").hexdigest()[:16])
        if os.fork() == 0:
            import ssl
            print(ssl.create_default_context().check_hostname, flush=True)
            os._exit(0)
        os.wait()
    """)
    assert lines == ["ba7816bf8f01cfea", "True"]


def test_a_process_that_forgot_how_it_was_loaded_goes_on_working() -> None:
    lines = output_of("""
        import decimal, json, re, zlib
        from sscsi.cli import shared_memory
        shared_memory.import_shared()
        shared_memory.import_shared()
        text = json.dumps([str(decimal.Decimal(1) / 3), re.sub("a", "b", "banana")])
        print(zlib.decompress(zlib.compress(text.encode())).decode())
    """)
    assert lines == ['["0.3333333333333333333333333333", "bbnbnb"]']


def test_objects_are_made_immortal_on_the_interpreters_that_are_known() -> None:
    known = (
        platform.python_implementation() == "CPython"
        and (3, 12) <= sys.version_info[:2] <= (3, 14)
        and sys.maxsize > 2**32
        and sys.byteorder == "little"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
    )
    assert is_possible() == known


def test_immortal_objects_are_used_dropped_changed_and_collected_as_others_are() -> None:
    lines = output_of("""
        import gc, os, sys, weakref
        class Thing:
            def __init__(self): self.items = []
        kept, words = Thing(), {"a": ["b"], 7: (8, "nine")}
        from sscsi.cli.immortal_objects import is_possible, make_immortal
        print((make_immortal() > 1000) == is_possible())
        before = sys.getrefcount(words)
        many = [words] * 100_000
        print(sys.getrefcount(words) == before if is_possible() else sys.getrefcount(words) > before)
        del many
        child = os.fork()
        # In the parent and in the child.
        for number in range(100_000):
            words["a"].append(number)
            kept.items.append(words[7])
            kept.items.pop()
        seen = weakref.ref(kept)
        new = Thing()
        new_seen = weakref.ref(new)
        del kept, new
        gc.collect()
        # What came later is freed as ever.
        assert new_seen() is None
        assert (seen() is None) != is_possible()
        del words["a"], words[7]
        assert words == {}
        sys.modules.pop("weakref")
        if child == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert lines == ["True", "True", "7"]


def test_the_constants_of_code_are_immortal_too() -> None:
    lines = output_of("""
        import sys
        from sscsi.cli.immortal_objects import is_possible, make_immortal
        def outer():
            def inner(): return 123456789
            return inner()
        make_immortal()
        constant = outer()
        before = sys.getrefcount(constant)
        many = [constant] * 1000
        print((sys.getrefcount(constant) == before) == is_possible())
    """)
    assert lines == ["True"]


def test_an_extension_that_counts_by_its_own_code_frees_nothing_that_is_immortal() -> None:
    """Built for the stable ABI of before 3.12, it adds to 64 bits what the interpreter takes for 32 (psutil, protobuf)."""
    lines = output_of("""
        import ctypes, gc, sys, weakref
        class Thing: pass
        kept = Thing()
        from sscsi.cli.immortal_objects import is_possible, make_immortal
        make_immortal()
        if is_possible():
            seen, address = weakref.ref(kept), id(kept)
            count, low = ctypes.c_uint64.from_address(address), ctypes.c_uint32.from_address(address)
            for _ in range(1000):
                count.value += 1
            is_still_immortal = low.value >= 1 << 31
            many = [kept] * 1000
            del many, kept
            gc.collect()
            assert seen() is not None
            # Up to 3.13 the interpreter looks at all 64 bits before it frees: the object only counts again.
            assert is_still_immortal or sys.version_info < (3, 14)
        print("done")
    """)
    assert lines == ["done"]
