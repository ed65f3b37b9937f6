import os
import threading
from pathlib import Path

import pytest

from sidecar.config.argocd_folder import (
    MAX_BYTES,
    MAX_FILES,
    MAX_SECRETS,
    file_signature,
    read_argocd_folder,
    signature,
)
from tests.config.mounted import mount, swap


def test_each_mounted_folder_is_one_map_of_keys(tmp_path: Path) -> None:
    mount(tmp_path / "argocd-cm", {"url": b"https://a"})
    mount(tmp_path / "argocd-secret", {"server.secretkey": b"\xff\x00"})
    mount(tmp_path / "argocd-cmd-params-cm", {})
    mount(tmp_path / "secrets" / "argocd-redis", {"auth": b"hunter2"})

    files, findings = read_argocd_folder(tmp_path)

    assert files.cm == {"url": b"https://a"}
    assert files.secret == {"server.secretkey": b"\xff\x00"}
    assert files.params == {}
    assert files.others["argocd-redis"].data == {"auth": b"hunter2"}
    assert files.others["argocd-redis"].part_of_argocd is None
    assert findings == []
    assert "hunter2" not in repr(files)


def test_what_is_not_mounted_is_not_there(tmp_path: Path) -> None:
    files, findings = read_argocd_folder(tmp_path / "nowhere")

    assert files.cm is files.secret is files.params is None
    assert files.others == {}
    assert findings == []


def test_a_plain_folder_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "argocd-cm" / "folder").mkdir(parents=True)
    (tmp_path / "argocd-cm" / "url").write_bytes(b"https://a")
    os.mkfifo(tmp_path / "argocd-cm" / "pipe")

    files, findings = read_argocd_folder(tmp_path)

    assert files.cm == {"url": b"https://a"}
    assert findings == []


def test_a_swap_while_it_is_read_gives_one_generation(tmp_path: Path) -> None:
    volume = tmp_path / "argocd-cm"
    names = [f"key{n}" for n in range(20)]
    mount(volume, dict.fromkeys(names, b"0"))
    done = threading.Event()

    def swap_all_the_time() -> None:
        number = 0
        while not done.is_set():
            number += 1
            swap(volume, dict.fromkeys(names, str(number).encode()))

    thread = threading.Thread(target=swap_all_the_time)
    thread.start()
    try:
        read = [read_argocd_folder(tmp_path)[0].cm for _ in range(200)]
    finally:
        done.set()
        thread.join()

    whole = [cm for cm in read if cm is not None]
    assert whole
    assert all(list(cm) == sorted(names) and len(set(cm.values())) == 1 for cm in whole)


def test_a_generation_that_goes_right_before_it_is_listed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, real = tmp_path / "argocd-cm", os.listdir
    mount(volume, {"url": b"https://a"})
    swaps = iter([{"url": b"https://b"}])

    def swap_first(folder: int) -> list[str]:
        for data in swaps:
            swap(volume, data)
        return real(folder)

    monkeypatch.setattr(os, "listdir", swap_first)

    assert read_argocd_folder(tmp_path)[0].cm == {"url": b"https://b"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"big": b"x" * (MAX_BYTES + 1)}, "longer than 2 MiB"),
        ({"one": b"x" * MAX_BYTES, "two": b"y"}, "longer than 2 MiB"),
        ({str(n): b"" for n in range(MAX_FILES + 1)}, "more than 4096 keys"),
    ],
    ids=["file", "files", "keys"],
)
def test_more_than_kubernetes_would_take_is_refused(
    tmp_path: Path, data: dict[str, bytes], why: str
) -> None:
    mount(tmp_path / "argocd-cm", data)

    files, findings = read_argocd_folder(tmp_path)

    assert files.cm is None
    assert [why in finding.sentence for finding in findings] == [True]


def test_more_secrets_than_anybody_mounts_are_left(tmp_path: Path) -> None:
    for number in range(MAX_SECRETS + 1):
        (tmp_path / "secrets" / f"s{number:03}").mkdir(parents=True)

    files, findings = read_argocd_folder(tmp_path)

    assert len(files.others) == MAX_SECRETS
    assert len(findings) == 1


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "argocd-cm").write_bytes(b"")

    files, findings = read_argocd_folder(tmp_path)

    assert files.cm is None
    assert str(findings[0]).startswith("argocd-cm cannot be read (Not a directory)")


def test_the_signature_changes_with_a_swap_a_write_and_a_new_secret(tmp_path: Path) -> None:
    seen = [signature(tmp_path)]
    mount(tmp_path / "argocd-cm", {"url": b"https://a"})
    seen.append(signature(tmp_path))
    swap(tmp_path / "argocd-cm", {"url": b"https://b"})
    seen.append(signature(tmp_path))
    (tmp_path / "secrets" / "sso").mkdir(parents=True)
    seen.append(signature(tmp_path))
    (tmp_path / "secrets" / "sso" / "key").write_bytes(b"1")
    seen.append(signature(tmp_path))

    assert signature(tmp_path) == seen[-1]
    assert len(set(seen)) == len(seen)


def test_a_files_signature_is_nothing_while_it_is_away(tmp_path: Path) -> None:
    assert file_signature(tmp_path / "away") == ()
