"""The command line of `sscsi demo`."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

from sscsi.errors import ConfigError
from sscsi.process import flags
from sscsi.process.flags import Flag

PROGRAM = "sscsi demo"
FLAGS = (
    Flag(
        name="classes",
        default="",
        help="Directory with your SecretProviderClass files (YAML), copied before use; samples when not given.",
    ),
    Flag(
        name="secrets",
        default="",
        help="Directory with your secrets, the root of the provider `file`; copied before use. Goes with --classes.",
    ),
    Flag(name="class", default="", help="Name of the SecretProviderClass to publish. Goes with --classes."),
    Flag(name="namespace", default="default", help="Namespace of the class and of the pod."),
    Flag(
        name="show-contents",
        default=False,
        help="Print what is in your secrets. The samples' contents are always printed.",
    ),
)
_SAMPLE_CLASS = "web-shop"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to demonstrate. `classes`, `secrets` and `changes` are directories, the latter '' when there is none:
    files that replace their namesakes in the secrets when it is time to change something.
    """

    classes: str
    secrets: str
    changes: str
    class_name: str
    namespace: str
    show_contents: bool


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> DemoOptions:
    """Parse `argv`. Raises ConfigError, HelpRequestedError."""
    parsed = flags.parse(PROGRAM, FLAGS, argv, environ)
    classes, secrets, name = (parsed.text(flag) for flag in ("classes", "secrets", "class"))
    if classes or secrets:
        for flag, value in (("classes", classes), ("secrets", secrets), ("class", name)):
            if not value:
                raise ConfigError(
                    f"flag --{flag} is missing: --classes, --secrets and --class go together; --help has more"
                )
        own, changes = True, ""
    else:
        own, samples = False, resources.files("sscsi.cli") / "samples"
        classes, secrets, changes = (_directory(samples, part) for part in ("classes", "secrets", "changes"))
    return DemoOptions(
        classes=os.path.abspath(classes),
        secrets=os.path.abspath(secrets),
        changes=changes,
        class_name=name or _SAMPLE_CLASS,
        namespace=parsed.text("namespace"),
        show_contents=parsed.boolean("show-contents") or not own,
    )


def _directory(samples: Traversable, name: str) -> str:
    """A directory of the samples; pip installs them as plain files."""
    return str(samples / name)
