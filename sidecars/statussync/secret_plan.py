"""Who wants a Secret, and from which volume it is made: decided from values, the same way every time."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from sscsi.core.provider_class import SecretProviderClass
from sscsi.core.published_volume import PublishedVolume, content_time
from sscsi.core.secret_data import secret_name
from sscsi.ports import ClassName, ObjectKey


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretWish:
    """A volume whose class asks, in `secretObjects[index]`, for the Secret."""

    volume: PublishedVolume
    spc: SecretProviderClass
    index: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A wish that is not granted: whose it is, and why not."""

    class_name: ClassName
    text: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlan:
    """The Secret is made from `secretObjects[index]` of `spc` and the content of `source`; the `users` own it."""

    spc: SecretProviderClass
    index: int
    source: PublishedVolume
    users: tuple[PublishedVolume, ...]
    conflicts: tuple[Conflict, ...]


def find_wishes(
    name: str,
    volumes: Iterable[PublishedVolume],
    classes: Mapping[ClassName, SecretProviderClass],
) -> list[SecretWish]:
    """Every wish for the Secret `name`, in the order of target paths and entries."""
    wishes = []
    for volume in sorted(volumes, key=lambda volume: volume.target_path):
        spc = classes.get((volume.pod_namespace, volume.class_name))
        for index, entry in enumerate(spc.secret_objects if spc else ()):
            if spc and secret_name(entry) == name:
                wishes.append(SecretWish(volume=volume, spc=spc, index=index))
    return wishes


def plan_secret(key: ObjectKey, wishes: Sequence[SecretWish]) -> SecretPlan:
    """Of several classes the first wins, by target path; of its volumes, the one with the newest content.

    The newest, and not the first, because pods that start with new content must find it in the Secret while
    older pods still hold the old; by the time it was written, and not looked at, because two volumes that are
    refreshed in turn would else be written in turn.
    """
    winner = wishes[0]
    granted = [wish for wish in wishes if _entry(wish) == _entry(winner)]
    source = max(granted, key=lambda wish: (content_time(wish.volume), wish.volume.target_path)).volume
    return SecretPlan(
        spc=winner.spc,
        index=winner.index,
        source=source,
        users=tuple(wish.volume for wish in granted),
        conflicts=tuple(_conflicts(key, wishes, winner)),
    )


def _conflicts(key: ObjectKey, wishes: Sequence[SecretWish], winner: SecretWish) -> list[Conflict]:
    conflicts = {}
    for wish in wishes:
        if _entry(wish) != _entry(winner):
            name = (wish.spc.namespace, wish.spc.name)
            text = (
                f"{key}: SecretProviderClass {wish.spc.name}: spec.secretObjects[{wish.index}] is not used, as "
                f"SecretProviderClass {winner.spc.name} makes this Secret in spec.secretObjects[{winner.index}]; "
                "give one of them another secretName"
            )
            conflicts[_entry(wish)] = Conflict(class_name=name, text=text)
    return [conflicts[entry] for entry in sorted(conflicts)]


def _entry(wish: SecretWish) -> tuple[str, int]:
    return wish.spc.name, wish.index
