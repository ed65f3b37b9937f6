from pathlib import Path

from sidecar.core.store_acl import SERVING, acl_line


def test_a_user_of_the_store_gets_no_more_than_the_page_says() -> None:
    page = Path("docs/store.md").read_text(encoding="utf-8")

    line = acl_line("token-refresh", "argocd-token-refresh:", commands=SERVING)

    assert line in page
    assert " resetkeys ~argocd-token-refresh:* resetchannels -@all +" in line
