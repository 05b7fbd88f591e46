"""Secrets that are easy to find again: values with one word in them, and where to look for them."""

import base64
import json
import os
import urllib.parse
from collections.abc import Callable, Iterable, Mapping

from sscsi.core.provider_request import TOKENS_KEY

WORD = "c4nary"
SECRETS: Mapping[str, str] = {
    "plain": f"{WORD}-plain-secret",
    "with-newline": f"{WORD}-ends-with-a-newline\n",
    "many-lines": f'{WORD}-first-line\n{WORD} second <line> & "quotes" \\ ü\n  {WORD}-indented\n',
    "json": json.dumps({"clientId": f"{WORD}-client-id", "clientSecret": f"{WORD}~client/secret+="}),
    TOKENS_KEY: json.dumps(
        {"aud-1": {"token": f"{WORD}.of.secrets", "expirationTimestamp": "2126-11-24T10:00:00Z"}}
    ),
}
VOLUME_CONTEXT: Mapping[str, str] = {
    TOKENS_KEY: json.dumps(
        {
            "aud-1": {"token": f"{WORD}.eyJhbGciOi.first", "expirationTimestamp": "2126-11-24T10:00:00Z"},
            "": {"token": f"{WORD}.eyJhbGciOi.second", "expirationTimestamp": "2126-11-24T10:00:00Z"},
        }
    )
}
CONTENTS: Mapping[str, bytes] = {
    "password": f"{WORD}-content".encode(),
    "certificate": f'-----BEGIN {WORD} <&>-----\n{WORD}+line/one==\n{WORD} line "two"\n'.encode(),
    "long-line": f"{WORD}-in-a-line-longer-than-what-is-cut-off ".encode() * 5,
    "binary": b"\x00\xff\n" + f"{WORD}-in-binary".encode() + b"\n\xfe",
    "nested/config.json": json.dumps({"key": f"{WORD}-json-value"}, indent=2).encode(),
}
_TOKENS = (f"{WORD}.of.secrets", f"{WORD}.eyJhbGciOi.first", f"{WORD}.eyJhbGciOi.second")

QUOTATIONS: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda text: f"cannot use {text} here",
    "without white space at its ends": lambda text: f"cannot use {text.strip()} here",
    "as JSON": lambda text: f"cannot use {json.dumps(text)} here",
    "as JSON of UTF-8": lambda text: f"cannot use {json.dumps(text, ensure_ascii=False)} here",
    "in base64": lambda text: f"cannot use {base64.b64encode(text.encode()).decode()} here",
    "in a URL": lambda text: f'Get "https://vault/v1/x?token={urllib.parse.quote(text, safe="")}": refused',
    "in a form": lambda text: f"cannot use {urllib.parse.quote_plus(text)} here",
    "by its lines": lambda text: " | ".join(text.splitlines()),
    "after a kilobyte": lambda text: "x" * 1000 + text,
    "across a kilobyte": lambda text: "x" * 900 + text,
}
"""How a provider may quote a value."""


def of_requests() -> list[str]:
    """Every value that a provider is told, each on its own."""
    return [*SECRETS.values(), *VOLUME_CONTEXT.values(), *_TOKENS]


def of_contents() -> list[str]:
    """The contents as a provider may quote them."""
    return [content.decode(errors="replace") for content in CONTENTS.values()]


def found_in(texts: Mapping[str, bytes]) -> list[str]:
    """Where a canary, or half of one in base64, is: name and surroundings, for whoever reads the failed test."""
    found = []
    for name, data in texts.items():
        for needle in _NEEDLES:
            at = data.find(needle)
            if at >= 0:
                found.append(f"{name}: ...{data[max(at - 100, 0) : at + 60]!r}...")
                break
    return found


def files_below(*directories: str) -> dict[str, bytes]:
    """The content of every regular file below the directories, and every name, by path."""
    files = {}
    for directory in directories:
        for parent, names, file_names in os.walk(directory):
            files[f"names in {parent}"] = "\n".join([*names, *file_names]).encode()
            for name in file_names:
                path = os.path.join(parent, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        files[path] = file.read()
    return files


def process_texts(pids: Iterable[int]) -> dict[str, bytes]:
    """Command line and environment of processes."""
    texts = {}
    for pid in pids:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                texts[f"/proc/{pid}/{name}"] = file.read()
    return texts


def _base64_of(word: str) -> set[bytes]:
    """What is in the base64 of any text that has `word` in it: one of three, by where the word starts."""
    needles = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + word.encode())
        # The characters that depend on what stands before or after the word are left out.
        first, last = (-(-shift * 8 // 6), (shift + len(word)) * 8 // 6)
        needles.add(encoded[first:last])
    return needles


_NEEDLES = [WORD.encode(), *sorted(_base64_of(WORD))]
