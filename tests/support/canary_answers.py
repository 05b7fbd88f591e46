"""What a provider answers to have its canaries told: errors that quote, answers that are refused, and good ones."""

from collections.abc import Iterator
from typing import Any

from sscsi.pb import provider_pb2
from tests.fakes.fake_provider import files_answer
from tests.support import canaries


def answer(**changes: Any) -> provider_pb2.MountResponse:
    """All contents; `changes` are fields of the first file."""
    files = [(path, 0o600, content) for path, content in canaries.CONTENTS.items()]
    made = files_answer(*files)
    for name, value in changes.items():
        setattr(made.files[0], name, value)
    return made


def quoting_errors() -> Iterator[str]:
    """Error texts of a provider. What it has of its own and answers with an error, nobody here can know."""
    for text in canaries.of_requests():
        for quote in canaries.QUOTATIONS.values():
            yield quote(text)


def bad_answers() -> Iterator[provider_pb2.MountResponse]:
    """Answers that are refused, with secrets and their own contents in what will be said of them."""
    for text in (*canaries.of_requests(), *canaries.of_contents()):
        for quote in canaries.QUOTATIONS.values():
            made = answer()
            made.error.code = quote(text)
            yield made
        line = text.splitlines()[0]
        for path in (
            f"../{line}",
            f"/{line}",
            f"{line}/../x",
            f"{line}\0",
            f"..{line}",
            f"{line}//x",
            line * 300,
        ):
            yield answer(path=path)
        yield answer(path=line, mode=0o1777)
        # As long as a path may be, and longer than the kernel takes.
        yield answer(path=(f"{line}/" + "x/" * 2048)[:4095] + "x")
        twice, both = answer(path=line), answer(path=line)
        twice.files.append(twice.files[0])
        yield twice
        both.files.add(path=f"{line}/below", contents=b"x")
        yield both
    no_versions = answer()
    del no_versions.object_version[:]
    yield no_versions
    yield files_answer(("large", 0o600, canaries.CONTENTS["password"] * 10_000))


def text_with_its_request(request: provider_pb2.MountRequest) -> str:
    return f"cannot use {request.secrets} and {request.attributes}"


def answer_with_its_request(request: provider_pb2.MountRequest) -> provider_pb2.MountResponse:
    return provider_pb2.MountResponse(error=provider_pb2.Error(code=text_with_its_request(request)))
