"""Build upstream's driver for tests/e2e/test_takeover.py: `upstream_build.py [DIRECTORY]`; what is there is not built again.

It is a Go program of the module sigs.k8s.io/secrets-store-csi-driver, without a change. One small module that it needs for
setting its log up, monis.app/mlog, is not to be had from every module proxy; a few lines of ours take its place, which leave
logging to klog, as that module does. Needs Go, and minutes of a processor when nothing of Kubernetes was built before.
"""

import os
import subprocess
import sys
import tempfile

VERSION = "1.6.0"
DIRECTORY = os.path.expanduser(f"~/.cache/sscsi-tools/upstream-{VERSION}")
PROGRAM = "secrets-store-csi"
_MODULE = "sigs.k8s.io/secrets-store-csi-driver"
_COMMAND = f"{_MODULE}/cmd/secrets-store-csi-driver"
_FILES = {
    "go.mod": "module upstream\n\ngo 1.25.0\n\nreplace monis.app/mlog => ./mlog\n",
    # klog as upstream's own go.mod has it.
    "mlog/go.mod": "module monis.app/mlog\n\ngo 1.25.0\n\nrequire k8s.io/klog/v2 v2.120.1\n",
    "mlog/mlog.go": """\
package mlog

import (
	"context"

	"k8s.io/klog/v2"
)

type Format string

const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

func Setup() func() { return klog.Flush }

func ValidateAndSetKlogLevelAndFormatGlobally(context.Context, klog.Level, Format) error { return nil }

func Error(text string, err error, pairs ...any) { klog.ErrorS(err, text, pairs...) }

func Fatal(err error, pairs ...any) {
	klog.ErrorS(err, "fatal error", pairs...)
	klog.FlushAndExit(klog.ExitFlushTimeout, 1)
}
""",
}


def build(directory: str) -> str:
    """Build the program into `directory`, all at once; its path. Raises CalledProcessError."""
    program = os.path.join(directory, PROGRAM)
    if os.path.exists(program):
        return program
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sscsi-upstream.") as source:
        for name, text in _FILES.items():
            path = os.path.join(source, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        _go(source, "get", f"{_COMMAND}@v{VERSION}")
        flags = f"-s -w -X {_MODULE}/pkg/version.BuildVersion=v{VERSION}"
        _go(source, "build", "-p", "1", "-trimpath", "-ldflags", flags, "-o", "built", _COMMAND)
        # Another directory may be another file system: first beside its place, then into it.
        subprocess.run(["cp", "built", f"{program}.{os.getpid()}"], cwd=source, check=True)
        os.rename(f"{program}.{os.getpid()}", program)
    return program


def _go(source: str, *arguments: str) -> None:
    environ = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=mod -buildvcs=false"}
    subprocess.run(["go", *arguments], cwd=source, env=environ, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    print(build(*(sys.argv[1:] or [DIRECTORY])))
