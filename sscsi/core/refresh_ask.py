"""A wish to have content fetched now: the annotation `annotations.REFRESH_AT` of one class or one pod."""

import dataclasses

from sscsi.core.annotations import MAX_ASK


@dataclasses.dataclass(frozen=True, slots=True, order=True, kw_only=True)
class RefreshAsk:
    """Of a class (`class_name`) or of a pod (`pod_name`, `pod_uid`); the other fields are empty.

    A new `value`, at most MAX_ASK characters of what is written there, is a new wish.
    """

    namespace: str
    class_name: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    value: str


def ask_value(annotation: object) -> str:
    """What counts of an annotation; empty when nothing is asked for."""
    return annotation[:MAX_ASK] if isinstance(annotation, str) else ""
