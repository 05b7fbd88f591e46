"""Forked from a process whose `http.client` has never heard of TLS, as `sscsi run` is: HTTPS works."""

import os
import subprocess
import sys

from tests.statussync.kube.certificates import Authority, server_context
from tests.statussync.kube.fake_api_server import LiveWatch, fake_api_server, json_answer
from tests.statussync.kube.kubeconfigs import TOKEN, kubeconfig, write

PROGRAM = """
import os, sys
from sscsi.cli import shared_memory
shared_memory.import_shared()
import http.client
assert not hasattr(http.client, "HTTPSConnection")
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

import threading
from sidecars.statussync.kube.api import KubeApi
from sidecars.statussync.kube.api_errors import ApiError
from sidecars.statussync.kube.connection import loader
from sidecars.statussync.kube.rate_limit import RateLimit

def follow():
    try:
        for event in watch:
            print(*event)
            told.set()
    except ApiError:
        pass
    print("over")

api = KubeApi(loader(sys.argv[1]), RateLimit(per_second=10, burst=10))
print(api.call("GET", "/a", timeout_seconds=20.0))
watch = api.watch("/b", query={}, timeout_seconds=100.0)
told = threading.Event()
thread = threading.Thread(target=follow)
thread.start()
assert told.wait(60)
watch.close()
thread.join()
api.close()
"""


def test_a_fork_of_a_process_without_tls_has_it(authority: Authority, tmp_path: os.PathLike[str]) -> None:
    live = LiveWatch()
    live.tell("ADDED", {"a": "b"})
    tls = server_context(authority.pair())
    with fake_api_server(json_answer(200, {}), live, tls=tls) as server:
        cluster = {"server": server.url, "certificate-authority": authority.certificate}
        path = write(os.path.join(tmp_path, "config"), kubeconfig(cluster, {"token": TOKEN}))
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=60, check=False
        )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == ["{}", "ADDED {'a': 'b'}", "over"]
