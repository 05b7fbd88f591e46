"""The last stage of a Containerfile as the configuration of an image, in the words of the OCI image specification.

Only what deploy/Containerfile uses is understood; anything else is refused, never left out.
"""

import json
import shlex
from collections.abc import Iterator
from typing import Any


def image_config(text: str) -> dict[str, Any]:
    """`config` of the image (OCI image-spec, "OCI Image Configuration"). Raises ValueError for an unknown instruction."""
    config: dict[str, Any] = {}
    for instruction, rest in last_stage(text):
        match instruction:
            case "FROM" if rest == "scratch":
                pass
            case "COPY" if rest == "--from=rootfs /rootfs/ /":
                pass
            case "LABEL":
                config.setdefault("Labels", {}).update(_pairs(rest))
            case "ENV":
                config.setdefault("Env", []).extend(f"{key}={value}" for key, value in _pairs(rest).items())
            case "USER":
                config["User"] = rest
            case "WORKDIR":
                config["WorkingDir"] = rest
            case "EXPOSE":
                config["ExposedPorts"] = {port: {} for port in rest.split()}
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case "ENTRYPOINT":
                config["Entrypoint"] = json.loads(rest)
            case _:
                raise ValueError(f"{instruction} {rest}: not understood in the last stage")
    return config


def last_stage(text: str) -> list[tuple[str, str]]:
    """Its instructions in upper case, with the rest of each."""
    found = list(instructions(text))
    begins = [index for index, (instruction, _) in enumerate(found) if instruction == "FROM"]
    return found[begins[-1] :]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """All of them, comments left out and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        yield instruction.upper(), " ".join(rest.split()) if instruction.upper() == "COPY" else rest.strip()


def _pairs(rest: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(rest)]
    return {key: value for key, _, value in pairs}
