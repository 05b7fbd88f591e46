"""The classes of a directory are as its files are, at every look."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from sidecars.statussync.class_files import ClassFiles
from sscsi.core.provider_class import SecretProviderClass
from sscsi.errors import ClassInvalidError, ClassNotFoundError, ClusterUnavailableError


def text(name: str = "app", provider: str = "file", namespace: str = "default") -> str:
    return (
        "apiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{provider: {provider}}}\n"
    )


def get(files: ClassFiles, name: str = "app", namespace: str = "default") -> SecretProviderClass:
    return files.get(namespace, name, timeout_seconds=5.0)


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json"])
def test_files_of_three_kinds_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        '{"apiVersion":"secrets-store.csi.x-k8s.io/v1","kind":"SecretProviderClass","metadata":{"name":"app"}}'
    )
    assert get(ClassFiles(str(tmp_path))).name == "app"


@pytest.mark.parametrize("name", [".a.yaml", "a.yaml.bak", "a.txt", "below/a.yaml", "status/a.yaml"])
def test_hidden_files_other_names_and_files_below_are_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text())
    with pytest.raises(ClassNotFoundError):
        get(ClassFiles(str(tmp_path)))


def test_a_directory_named_like_a_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    (tmp_path / "b.yaml").write_text(text())
    assert get(ClassFiles(str(tmp_path))).name == "app"


def test_a_mounted_config_map_is_followed_through_its_swap(tmp_path: Path) -> None:
    for version, provider in (("..1", "one"), ("..2", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(text(provider=provider))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    files = ClassFiles(str(tmp_path))
    assert get(files).provider == "one"
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert get(files).provider == "two"


def test_adding_changing_and_removing_a_file_is_seen_at_once(tmp_path: Path) -> None:
    files = ClassFiles(str(tmp_path))
    with pytest.raises(ClassNotFoundError):
        get(files)
    (tmp_path / "a.yaml").write_text(text(provider="one"))
    assert get(files).provider == "one"
    (tmp_path / "a.yaml").write_text(text(provider="two"))
    assert get(files).provider == "two"
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(ClassNotFoundError):
        get(files)


def test_a_change_within_the_time_stamps_granularity_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text(provider="one"))
    files = ClassFiles(str(tmp_path))
    status = path.stat()
    assert get(files).provider == "one"
    # Same inode, size and times: what a coarse clock makes of two quick writes.
    with path.open("r+") as file:
        file.write(text(provider="two"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert get(files).provider == "two"


def test_only_what_changed_is_parsed_again(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("app"))
    (tmp_path / "b.yaml").write_text(text("other"))
    files = ClassFiles(str(tmp_path))
    first = get(files)
    (tmp_path / "b.yaml").write_text(text("other", provider="new"))
    assert get(files, "other").provider == "new"
    assert get(files) is first


def test_two_definitions_of_one_class_are_both_named_and_none_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text() + "---\n" + text("other"))
    (tmp_path / "b.yaml").write_text("# of mine\n" + text())
    files = ClassFiles(str(tmp_path))
    with pytest.raises(ClassInvalidError, match=r"defined more than once, in a\.yaml:1 and b\.yaml:2"):
        get(files)
    assert get(files, "other").name == "other"
    (tmp_path / "a.yaml").unlink()
    assert get(files).name == "app"


def test_a_broken_class_is_reported_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text(provider="1"))
    with pytest.raises(
        ClassInvalidError, match=r"default/app can't be used: a\.yaml:4: spec\.provider: must be"
    ):
        get(ClassFiles(str(tmp_path)))


def test_what_can_not_be_read_is_a_hint_to_what_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: {")
    (tmp_path / "b.yaml").write_text(text("app", namespace="prod"))
    with pytest.raises(ClassNotFoundError) as caught:
        get(ClassFiles(str(tmp_path)))
    message = str(caught.value)
    assert message.startswith('SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found (a.yaml:2:1: ')
    assert message.endswith("there is one in namespace prod)")


def test_without_a_hint_the_text_is_the_api_servers(tmp_path: Path) -> None:
    with pytest.raises(ClassNotFoundError) as caught:
        get(ClassFiles(str(tmp_path)))
    assert str(caught.value) == 'SecretProviderClass.secrets-store.csi.x-k8s.io "app" not found'


def test_an_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")
    (tmp_path / "b.yaml").write_bytes(b"x" * (4 * 1024 * 1024 + 1))
    (tmp_path / "c.yaml").write_text(text())
    os.mkfifo(tmp_path / "d.yaml")
    files = ClassFiles(str(tmp_path))
    assert get(files).name == "app"
    with pytest.raises(ClassNotFoundError, match=r"a\.yaml: can't be read: ENOENT; b\.yaml: larger than"):
        get(files, "none")


def test_a_problem_is_logged_once_and_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = ClassFiles(str(tmp_path))

    def logged() -> list[str]:
        files.revisions(timeout_seconds=5.0)
        reasons = [getattr(record, "reason", "") for record in caplog.records]
        caplog.clear()
        return reasons

    caplog.set_level("INFO")
    (tmp_path / "a.yaml").write_text(text(provider="1"))
    assert len(logged()) == 1
    (tmp_path / "b.yaml").write_text(text("other"))
    assert logged() == []
    (tmp_path / "a.yaml").write_text("\n" + text(provider="1"))
    assert len(logged()) == 1
    (tmp_path / "a.yaml").write_text(text())
    assert logged() == [""]
    assert logged() == []


def test_a_directory_that_is_gone_is_unavailable_and_back_when_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "classes"
    directory.mkdir()
    (directory / "a.yaml").write_text(text())
    files = ClassFiles(str(directory))
    get(files)
    directory.rename(tmp_path / "away")
    with pytest.raises(ClusterUnavailableError, match="ENOENT"):
        get(files)
    (tmp_path / "away").rename(directory)
    assert get(files).name == "app"
    shutil.rmtree(directory)


def test_a_look_up_waits_no_longer_than_it_may_for_another_that_hangs(tmp_path: Path) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def now() -> float:
        hanging.set()
        assert go_on.wait(60)
        return 0.0

    (tmp_path / "a.yaml").write_text(text())
    files = ClassFiles(str(tmp_path), now=now)
    other = threading.Thread(target=get, args=(files,))
    other.start()
    try:
        assert hanging.wait(60)
        with pytest.raises(ClusterUnavailableError, match="takes too long"):
            files.get("default", "app", timeout_seconds=0.05)
    finally:
        go_on.set()
        other.join()
    assert get(files).name == "app"
