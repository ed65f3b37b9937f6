"""The corpus of return addresses, and who judges it."""

import pytest

from tests.attacks.redirects import (
    CORPUS,
    as_browsers_read,
    as_python_reads,
    is_at_home,
)


def test_the_corpus_has_hundreds_of_addresses_each_once() -> None:
    assert len(set(CORPUS)) == len(CORPUS) >= 300


def test_most_of_it_would_lead_a_browser_away() -> None:
    away = [read for read in as_browsers_read(CORPUS) if not is_at_home(read)]

    assert len(away) >= 300


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("/\\evil.example", "https://evil.example/"),
        ("/\t/evil.example", "https://evil.example/"),
        ("https:evil.example", "https://argocd.example.org/argocd/auth/evil.example"),
        ("\x01//evil.example", "https://evil.example/"),
        ("https://argocd.example.org\\@evil.example/", "https://argocd.example.org/@evil.example/"),
        ("//argocd。example。org/argocd/", "https://argocd.example.org/argocd/"),
        ("/argocd/%2e%2e/evil", "https://argocd.example.org/evil"),
    ],
)
def test_its_judge_reads_as_browsers_do(given: str, read: str) -> None:
    assert as_browsers_read([given]) == [read]


def test_the_other_judge_reads_backslashes_otherwise() -> None:
    assert is_at_home(as_python_reads("https://argocd.example.org/argocd/x"))
    assert as_python_reads("/\\evil.example") == "https://argocd.example.org/\\evil.example"
