"""A provider's page → the form that a person would fill in. No I/O."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

_MAX_FIELDS = 50
_ASKS_WHO = {"user", "username", "login", "identifier", "email"}
_TEXT = {"text", "email", ""}


@dataclass(slots=True)
class Form:
    """A form: where it goes, what it sends already, and what it asks for."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """The name of the first field for text."""
    password: str = ""
    button: tuple[str, str] | None = None
    asks: int = 0

    def filled(self, user: str, password: str) -> dict[str, str]:
        """What is sent for this user, by the first of its buttons."""
        sent = dict(self.fields)
        if self.text:
            sent[self.text] = user
        if self.password:
            sent[self.password] = password
        if self.button is not None:
            sent[self.button[0]] = self.button[1]
        return sent


def form_to_fill(page: str, url: str) -> Form | None:
    """The form that asks for a password, for who one is, or for consent; None: there is none.

    Of several for consent it is the first, which is the one that gives it at Dex.
    """
    reader = _Reader(url)
    try:
        reader.feed(page)
    except (ValueError, AssertionError):  # an address, or markup, that is none
        return None
    posted = [form for form in reader.forms if form.method == "post"]
    with_password = [form for form in posted if form.password]
    if with_password:
        return with_password[0]
    usable = [form for form in posted if not form.asks or form.text.lower() in _ASKS_WHO]
    return usable[0] if usable else None


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._url = url
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = urljoin(self._url, found.get("action", "") or self._url)
            self._open = Form(action, found.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open is not None and len(self._open.fields) < _MAX_FIELDS:
            if tag == "button" and found.get("type", "submit") == "submit":
                self._add_button(self._open, found)
            elif tag == "input":
                self._add_input(self._open, found)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def _add_input(self, form: Form, found: dict[str, str]) -> None:
        name, kind = found.get("name", ""), found.get("type", "").lower()
        if kind in ("submit", "image"):
            self._add_button(form, found)
        elif kind == "password":
            form.password = form.password or name
        elif kind == "hidden" and name:
            form.fields[name] = found.get("value", "")
        elif kind in _TEXT and name:
            form.asks += 1
            form.text = form.text or name

    def _add_button(self, form: Form, found: dict[str, str]) -> None:
        if form.button is None and found.get("name"):
            form.button = found["name"], found.get("value", "")
