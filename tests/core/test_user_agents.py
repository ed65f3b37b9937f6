"""A browser in plain words."""

import pytest

from sidecar.core.user_agents import device

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (f"{WINDOWS} {KHTML} Chrome/142.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"{WINDOWS} {KHTML} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", "Edge on Windows"),
        (f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
         "Safari on macOS"),
        (f"{MAC} {KHTML} Chrome/142.0.0.0 Safari/537.36 OPR/125.0.0.0", "Opera on macOS"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
         "Firefox on Linux"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KHTML} Chrome/142.0.0.0 Safari/537.36",
         "Chrome on ChromeOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
         "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
         "(KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1", "Chrome on iPad"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {KHTML} SamsungBrowser/29.0 Chrome/136.0.0.0 "
         "Mobile Safari/537.36", "Samsung Internet on Android"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {KHTML} HeadlessChrome/142.0.0.0 Safari/537.36",
         "Chrome on Linux"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {KHTML} Chrome/142.0 Mobile Safari/537.36 EdgA/142.0",
         "Edge on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
         "(KHTML, like Gecko) Version/18.0 EdgiOS/142.0 Mobile/15E148 Safari/605.1.15",
         "Edge on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
         "(KHTML, like Gecko) FxiOS/145.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPad"),
        (f"{WINDOWS} {KHTML} Chrome/142.0.0.0 Safari/537.36 Vivaldi/7.6", "Vivaldi on Windows"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {KHTML} Chromium/142.0 Chrome/142.0.0.0 Safari/537.36",
         "Chromium on Linux"),
        ("curl/8.14.1", "curl"),
        ("Mozilla/5.0 (Windows NT 10.0) Something/1", "A browser on Windows"),
        ("Python/3.11 aiohttp/3.14", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)  # fmt: skip
def test_a_browser_is_called_what_its_user_calls_it(user_agent: str, words: str) -> None:
    assert device(user_agent) == words
