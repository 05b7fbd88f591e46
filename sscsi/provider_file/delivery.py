"""The answer to one Mount, object by object: found, read, placed, counted."""

import posixpath
from collections.abc import Callable

from sscsi.core.file_plan import MAX_ENTRIES, check_path
from sscsi.core.object_spec import ObjectSpec, check_volume_path, volume_path
from sscsi.edges.rooted_files import RootedFiles
from sscsi.errors import ContentTooLargeError, InvalidRequestError, ObjectError, ProviderAnswerError
from sscsi.pb import provider_pb2
from sscsi.provider_file import json_document, object_glob

# (object id, content) -> version
Version = Callable[[str, bytes], str]
# (object name, key of the JSON document; None: the file itself)
Source = tuple[str, str | None]


class Delivery:
    """Collects the files and versions of one answer.

    An object that several entries ask for has one id, one version and one content, so an answer never shows two
    states of it. `max_bytes` bounds the answer as it travels, and each document that is read for its keys.
    """

    def __init__(self, files: RootedFiles, version: Version, *, default_mode: int, max_bytes: int) -> None:
        self._files = files
        self._version = version
        self._default_mode = default_mode
        self._max_bytes = max_bytes
        self._answer = provider_pb2.MountResponse()
        self._bytes = 0
        self._contents: dict[Source, bytes] = {}
        self._sources: dict[str, Source] = {}
        self._origins: dict[str, str] = {}

    def add(self, spec: ObjectSpec) -> None:
        """Deliver what `spec` asks for. Raises ObjectError, InvalidRequestError, ContentTooLargeError."""
        try:
            for name in self._names(spec):
                self._add_object(spec, name)
        except ObjectError as error:
            raise ObjectError(f"{spec.label}: {error}") from error

    def answer(self) -> provider_pb2.MountResponse:
        """The whole answer. Raises ContentTooLargeError, InvalidRequestError."""
        for path, origin in self._origins.items():
            parent = posixpath.dirname(path)
            while parent:
                if parent in self._origins:
                    raise InvalidRequestError(
                        f"{origin}: path {path!r} needs a directory where {self._origins[parent]} puts a file; "
                        "set another objectAlias"
                    )
                parent = posixpath.dirname(parent)
        size = self._answer.ByteSize()
        if size > self._max_bytes:
            raise ContentTooLargeError(f"the answer would have {size} bytes; {self._limit_text()}")
        return self._answer

    def _names(self, spec: ObjectSpec) -> list[str]:
        if not spec.is_glob:
            return [spec.object_name]
        names = object_glob.expand(spec.object_name, self._files.list_directory)
        if not names:
            raise ObjectError(f"nothing below {self._files.place!r} matches {spec.object_name!r}")
        if len(names) > 1 and spec.object_alias and not spec.object_alias.endswith("/"):
            raise InvalidRequestError(
                f"{spec.label}: {spec.object_name!r} matches {len(names)} objects, and one objectAlias is one file; "
                "end it with / to make it a directory"
            )
        return names

    def _add_object(self, spec: ObjectSpec, name: str) -> None:
        _check_text(name)
        path = volume_path(spec, name)
        mode = self._default_mode if spec.mode is None else spec.mode
        if spec.explodes:
            self._add_keys(spec, name, path, mode)
        else:
            source = (name, None)
            content = self._contents.get(source)
            if content is None:
                content = self._read(spec, name, self._max_bytes - self._bytes)
            self._add_file(spec, source, path, mode, content)

    def _add_keys(self, spec: ObjectSpec, name: str, directory: str, mode: int) -> None:
        document = self._read(spec, name, self._max_bytes)
        if spec.all_json_keys:
            values = json_document.explode(name, document, None)
            for number, (key, value) in enumerate(values.items(), 1):
                _check_key(name, number, key)
                self._add_file(spec, (name, key), posixpath.join(directory, key), mode, value)
            return
        values = json_document.explode(name, document, [entry.key for entry in spec.json_keys])
        for entry in spec.json_keys:
            path = posixpath.join(directory, entry.path)
            key_mode = mode if entry.mode is None else entry.mode
            self._add_file(spec, (name, entry.key), path, key_mode, values[entry.key])

    def _read(self, spec: ObjectSpec, name: str, max_bytes: int) -> bytes:
        try:
            return self._files.read(name, max_bytes)
        except ContentTooLargeError as error:
            before = "" if max_bytes == self._max_bytes else f", after {self._bytes} bytes of other files"
            raise ContentTooLargeError(f"{spec.label}: {error}{before}; {self._limit_text()}") from error

    def _add_file(self, spec: ObjectSpec, source: Source, path: str, mode: int, content: bytes) -> None:
        check_volume_path(path, spec.label)
        if path in self._origins:
            raise InvalidRequestError(
                f"{spec.label}: path {path!r} is what {self._origins[path]} delivers; set another objectAlias"
            )
        if len(self._origins) == MAX_ENTRIES:
            raise ContentTooLargeError(
                f"{spec.label}: the answer would have over {MAX_ENTRIES} files, more than a volume holds; deliver less"
            )
        content = self._contents.setdefault(source, content)
        self._bytes += len(content)
        if self._bytes > self._max_bytes:
            raise ContentTooLargeError(
                f"{spec.label}: the answer would have {self._bytes} bytes or more; {self._limit_text()}"
            )
        self._origins[path] = spec.label
        self._answer.files.add(path=path, mode=mode, contents=content)
        self._add_version(source, content)

    def _add_version(self, source: Source, content: bytes) -> None:
        name, key = source
        object_id = name if key is None else f"{name}#{key}"
        if object_id not in self._sources:
            self._sources[object_id] = source
            self._answer.object_version.add(id=object_id, version=self._version(object_id, content))
        elif self._sources[object_id] != source:
            raise ObjectError(
                f"a file and a key of a JSON document are both called {object_id!r}; deliver one of them"
            )

    def _limit_text(self) -> str:
        return (
            f"the limit is --max-response-bytes={self._max_bytes}: deliver less, or raise it together with "
            "the node's --max-call-recv-msg-size"
        )


def _check_text(name: str) -> None:
    """A glob finds names as they are on disk; the answer can only hold those that are text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ObjectError(
            f"the file name {name!r} is not UTF-8; rename it, or name its neighbours one by one"
        ) from None


def _check_key(name: str, number: int, key: str) -> None:
    """Keys that the class does not name may be anything, so they are checked here and not shown."""
    try:
        check_path(key)
    except (ProviderAnswerError, UnicodeEncodeError):
        # The cause shows the key.
        raise ObjectError(
            f"{name!r}: key number {number} can't be a file name; name the keys in jsonKeys, this one with an objectAlias"
        ) from None
