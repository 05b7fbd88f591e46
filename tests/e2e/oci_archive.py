"""A directory as an image of one layer, in an OCI archive: what `ctr images import` and `podman load` take.

The same directory gives the same bytes: sorted names, root as owner, and no time but that of each file.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from typing import Any

_EPOCH = "1970-01-01T00:00:00Z"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def write(out: str, *, rootfs: str, config: Mapping[str, Any], name: str, architecture: str) -> str:
    """Write the archive `out` with the image called `name`; returns the digest of its manifest. Raises OSError."""
    blobs: list[bytes] = []

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        blobs.append(content)
        return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}

    layer = blob(_layer(rootfs), _LAYER)
    image = {
        "architecture": architecture,
        "os": "linux",
        "created": _EPOCH,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created": _EPOCH, "created_by": "deploy/image/rootfs.py"}],
    }
    manifest = blob(
        _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": blob(_json(image), _CONFIG),
                "layers": [layer],
            }
        ),
        _MANIFEST,
    )
    # The first is containerd's word for the whole name, the second everybody's.
    manifest["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest]}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json(index))
        for content in sorted(blobs, key=_digest):
            _add(archive, f"blobs/sha256/{_digest(content).partition(':')[2]}", content)
    return str(manifest["digest"])


def _layer(rootfs: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for root, directories, names in os.walk(rootfs):
            directories.sort()
            links = [name for name in directories if os.path.islink(os.path.join(root, name))]
            if root != rootfs:
                _add_path(archive, root, rootfs)
            for name in sorted((*names, *links)):
                _add_path(archive, os.path.join(root, name), rootfs)
    return buffer.getvalue()


def _add_path(archive: tarfile.TarFile, path: str, rootfs: str) -> None:
    # Hard links in the directory are files of their own in the layer.
    archive.inodes = {}  # type: ignore[attr-defined]
    entry = archive.gettarinfo(path, arcname=os.path.relpath(path, rootfs))
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    if entry.isreg():
        with open(path, "rb") as file:
            archive.addfile(entry, file)
    else:
        archive.addfile(entry)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
