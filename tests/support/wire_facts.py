"""What an interface looks like on the wire, as comparable lines, from a .proto file or from generated code.

A line for each message, field, enum value and method: `PluginInfo 3 endpoint string`. Types that are no scalars are
written by their last name. Comments, order and generator options do not count.
"""

import re
from collections.abc import Iterator

from google.protobuf import descriptor_pb2

from sscsi.pb import csi_pb2

_TOKEN = re.compile(r'//[^\n]*|[A-Za-z_][A-Za-z0-9_.]*|[0-9]+|"[^"]*"|[{}()<>\[\]=;,]')
_SCALARS = {
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING: "string",
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL: "bool",
    descriptor_pb2.FieldDescriptorProto.TYPE_BYTES: "bytes",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32: "int32",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64: "int64",
    descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE: "double",
}


def from_descriptor(file: descriptor_pb2.FileDescriptorProto) -> set[str]:
    """The lines of a generated module's file descriptor."""
    lines = {f"package {file.package}"}
    for message in file.message_type:
        lines |= _of_message(message, "")
    for enum in file.enum_type:
        lines |= _of_enum(enum, "")
    for field in file.extension:
        lines.add(f"extend {_last(field.extendee)} {_of_field(field, {}, [])}")
    for service in file.service:
        for method in service.method:
            stream = "stream " if method.server_streaming else ""
            types = f"({_last(method.input_type)}) returns ({stream}{_last(method.output_type)})"
            lines.add(f"{service.name}/{method.name} {types}")
    return lines


def _of_message(message: descriptor_pb2.DescriptorProto, scope: str) -> set[str]:
    name = scope + message.name
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    oneofs = [oneof.name for oneof in message.oneof_decl]
    lines = {f"message {name}"} | {f"{name} {_of_field(field, maps, oneofs)}" for field in message.field}
    for nested in message.nested_type:
        if not nested.options.map_entry:
            lines |= _of_message(nested, f"{name}.")
    for enum in message.enum_type:
        lines |= _of_enum(enum, f"{name}.")
    return lines


def _of_enum(enum: descriptor_pb2.EnumDescriptorProto, scope: str) -> set[str]:
    return {f"{scope}{enum.name} {value.name}={value.number}" for value in enum.value}


def _of_field(
    field: descriptor_pb2.FieldDescriptorProto,
    maps: dict[str, descriptor_pb2.DescriptorProto],
    oneofs: list[str],
) -> str:
    kind = _SCALARS.get(field.type) or _last(field.type_name)
    if kind in maps:
        key, value = maps[kind].field
        kind = f"map<{_SCALARS[key.type]}, {_SCALARS.get(value.type) or _last(value.type_name)}>"
    elif field.label == field.LABEL_REPEATED:
        kind = f"repeated {kind}"
    oneof = f" (oneof {oneofs[field.oneof_index]})" if field.HasField("oneof_index") else ""
    secret = " [csi_secret]" if field.options.Extensions[csi_pb2.csi_secret] else ""
    return f"{field.number} {field.name} {kind}{oneof}{secret}"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def from_proto(text: str) -> set[str]:
    """The lines of a .proto file of the style in proto/: proto3, no options but csi_secret."""
    return set(_Reader(text).statements("", ""))


class _Reader:
    """Reads the tokens of a .proto file from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = [token for token in _TOKEN.findall(text) if not token.startswith("//")]
        self._tokens.reverse()

    def _take(self, *expected: str) -> str:
        token: str = self._tokens.pop()
        assert not expected or token in expected, f"{token!r} where {expected} must be"
        return token

    def statements(self, scope: str, suffix: str) -> Iterator[str]:
        """Everything up to the brace that closes this scope, or the end."""
        while self._tokens:
            token = self._take()
            if token == "}":
                return
            yield from self._statement(token, scope, suffix)

    def _statement(self, token: str, scope: str, suffix: str) -> Iterator[str]:
        if token in {"syntax", "import", "package"}:
            words = list(iter(self._take, ";"))
            if token == "package":
                yield f"package {words[0]}"
        elif token == "message":
            name = self._open()
            yield f"message {scope}{name}"
            yield from self.statements(f"{scope}{name}.", "")
        elif token == "oneof":
            yield from self.statements(scope, f" (oneof {self._open()})")
        elif token == "extend":
            yield from self.statements(f"extend {_last(self._open())}.", "")
        elif token == "enum":
            yield from self._enum(f"{scope}{self._open()}")
        elif token == "service":
            yield from self._methods(self._open())
        else:
            yield self._field(token, scope.removesuffix("."), suffix)

    def _open(self) -> str:
        name = self._take()
        self._take("{")
        return name

    def _enum(self, name: str) -> Iterator[str]:
        while (value := self._take()) != "}":
            self._take("=")
            yield f"{name} {value}={self._take()}"
            self._take(";")

    def _methods(self, service: str) -> Iterator[str]:
        while self._take("rpc", "}") == "rpc":
            name, request, answer = self._take(), self._type_in_brackets(), ""
            self._take("returns")
            answer = self._type_in_brackets()
            self._take("{")
            self._take("}")
            yield f"{service}/{name} ({request}) returns ({answer})"

    def _type_in_brackets(self) -> str:
        self._take("(")
        words = list(iter(self._take, ")"))
        return " ".join([*words[:-1], _last(words[-1])])

    def _field(self, token: str, message: str, suffix: str) -> str:
        if token == "map":
            self._take("<")
            key = self._take()
            self._take(",")
            kind = f"map<{key}, {_last(self._take())}>"
            self._take(">")
        elif token == "repeated":
            kind = f"repeated {_last(self._take())}"
        else:
            kind = _last(token)
        name = self._take()
        self._take("=")
        number = self._take()
        options = list(iter(self._take, ";"))
        secret = " [csi_secret]" if options == ["[", "(", "csi_secret", ")", "=", "true", "]"] else ""
        assert secret or not options, f"unknown options of {name}: {options}"
        return f"{message} {number} {name} {kind}{suffix}{secret}"
