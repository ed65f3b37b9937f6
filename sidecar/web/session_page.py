"""The page of a user's sessions as HTML and as JSON. It works without scripts."""

import html
from datetime import UTC, datetime

from sidecar.core.answers import style_source
from sidecar.core.session_view import SessionView
from sidecar.flows.own_sessions import Listed

# Argo CD's own colours and font (argo-ui, src/styles/config.scss), in its light and dark theme.
STYLE = (
    ":root{color-scheme:light dark;--back:#dee6eb;--card:#fff;--text:#363c4a;--soft:#495763;"
    "--line:#dee6eb;--link:#006f8a;--button:#007a88;--on-button:#fff;--end:#c02636;--bar:#0f2733;"
    "--note:#dff6f9}"
    "@media(prefers-color-scheme:dark){:root{--back:#100f0f;--card:#303237;--text:#fff;"
    "--soft:#ccd6dd;--line:#495763;--link:#99e1ea;--button:#1fbdd0;--on-button:#100f0f;"
    "--end:#ff8a91;--bar:#0f2733;--note:#004c67}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--back);color:var(--text);"
    "font:16px/1.5 Heebo,system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "header{background:var(--bar);color:#fff}"
    "header div{display:flex;align-items:center;justify-content:space-between;gap:1rem;"
    "min-height:50px}"
    "header a{color:#99e1ea}"
    "header div,main{max-width:50rem;margin:0 auto;padding:0 1rem}"
    "h1{font-size:1.4rem;font-weight:500;margin:1.5rem 0 .25rem}"
    "h2{font-size:1.05rem;font-weight:500;margin:0;overflow-wrap:anywhere}"
    "p{margin:0 0 1rem;color:var(--soft);overflow-wrap:anywhere}"
    "a{color:var(--link)}"
    ".note{background:var(--note);color:var(--text);border-radius:5px;padding:.6rem 1rem;"
    "margin:1rem 0 0}"
    "article{background:var(--card);border-radius:5px;margin:0 0 .75rem;padding:1rem;"
    "box-shadow:0 1px 2px #0002}"
    "article>div{display:flex;flex-wrap:wrap;align-items:center;gap:.4rem .75rem}"
    ".here{border:1px solid currentColor;color:var(--link);border-radius:1rem;padding:0 .6rem;"
    "font-size:.8rem}"
    "dl{display:grid;grid-template-columns:repeat(3,1fr);gap:.6rem 1rem;"
    "margin:.75rem 0 0}"
    "dt{color:var(--soft);font-size:.8rem}"
    "dd{margin:0;overflow-wrap:anywhere}"
    "form{margin:0}"
    "article form,article .out{margin-left:auto}"
    "button,.out{display:inline-block;border:1px solid var(--end);border-radius:1.3rem;"
    "background:none;color:var(--end);padding:.3rem 1rem;font:inherit;font-size:.9rem;"
    "text-decoration:none;cursor:pointer}"
    ".out{border-color:var(--button);background:var(--button);color:var(--on-button)}"
    "button:focus-visible,a:focus-visible{outline:3px solid var(--button);outline-offset:2px}"
    ".all{display:flex;justify-content:flex-end;margin:1rem 0 2rem}"
    "@media(max-width:30rem){dl{grid-template-columns:repeat(2,1fr)}"
    "article form,article .out{margin-left:0}"
    "article form,.all,.all form,button,.out{width:100%;text-align:center}}"
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    "<title>Your sessions · Argo CD</title><style>{style}</style>"
    '<header><div><span>Argo CD</span><a href="{home}">Back to Argo CD</a></div></header>'
    "<main>{note}<h1>Your sessions</h1><p>{person}</p>{sessions}{more}{all}</main></html>"
)
FIELDS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src {style_source(STYLE)}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    # With `no-referrer` a browser would send `Origin: null`, and the exact one is asked for.
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
NOTES = {
    "ended": "The session has ended.",
    "others": "All your other sessions have ended.",
    "gone": "That session had ended already.",
}
_STEPS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def page(listed: Listed, *, root: str, form_token: str, done: str, now: float) -> str:
    """The page as HTML; `done` is one of `NOTES`, or nothing."""
    action = html.escape(f"{root}/_sidecar/session")
    hidden = f'<input type="hidden" name="token" value="{html.escape(form_token)}">'
    form = f'<form method="post" action="{action}">{hidden}'
    others = len(listed.sessions) + listed.more > 1
    end_all = f'{form}<button name="action" value="end-others">End all others</button></form>'
    note = f'<p class="note" role="status">{NOTES[done]}</p>' if done in NOTES else ""
    more = f"<p>And {listed.more} more.</p>" if listed.more else ""
    return _PAGE.format(
        style=STYLE,
        home=html.escape(f"{root}/"),
        note=note,
        person=f"Signed in as {html.escape(listed.person)}.",
        sessions="".join(_article(view, form, root, now) for view in listed.sessions),
        more=more,
        all=f'<div class="all">{end_all}</div>' if others else "",
    )


def to_json(listed: Listed, *, form_token: str) -> dict[str, object]:
    """The same for programs; instants as RFC 3339 has them."""
    return {
        "person": listed.person,
        "sessions": [
            {
                "id": view.id,
                "current": view.current,
                "device": view.device,
                "userAgent": view.user_agent,
                "provider": view.provider,
                "firstSeenAt": _iso(view.first_seen_at),
                "lastSeenAt": _iso(view.last_seen_at),
                "endsAt": _iso(view.ends_at),
                "tokenEndsAt": _iso(view.token_ends_at),
                "nextRenewalAt": _iso(view.next_renewal_at) if view.renews else None,
                "renewsUnasked": view.renews and view.unasked,
            }
            for view in listed.sessions
        ],
        "more": listed.more,
        "token": form_token,
    }


def _article(view: SessionView, form: str, root: str, now: float) -> str:
    if view.current:
        badge = '<span class="here">This browser</span>'
        end = f'<a class="out" href="{html.escape(root)}/auth/logout">Sign out</a>'
    else:
        badge = ""
        label = html.escape(f"End the session {view.device}, {_ago(now - view.last_seen_at)}")
        end = (
            f'{form}<input type="hidden" name="session" value="{html.escape(view.id)}">'
            f'<button name="action" value="end" aria-label="{label}">End this session</button>'
            "</form>"
        )
    rows = [
        ("First seen", _time(view.first_seen_at, _ago(now - view.first_seen_at))),
        ("Last seen", _time(view.last_seen_at, _ago(now - view.last_seen_at))),
        ("Provider", html.escape(view.provider)),
        ("Token", _token(view, now)),
        ("Next renewal", _renewal(view, now)),
        ("Ends at the latest", _time(view.ends_at, _in(view.ends_at - now))),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    title = html.escape(view.user_agent)
    return (
        f'<article><div><h2 title="{title}">{html.escape(view.device)}</h2>{badge}{end}</div>'
        f"<dl>{listed}</dl></article>"
    )


def _token(view: SessionView, now: float) -> str:
    left = view.token_ends_at - now
    if left <= 0:
        return _time(view.token_ends_at, f"ended {_ago(-left)}")
    return _time(view.token_ends_at, f"ends {_in(left)}")


def _renewal(view: SessionView, now: float) -> str:
    if not view.renews:
        return "none: sign in again when it ends"
    left = view.next_renewal_at - now
    if view.unasked:
        return _time(view.next_renewal_at, _in(left))
    return _time(view.next_renewal_at, f"{_in(left)}, if used") if left > 0 else "at its next use"


def _time(at: float, words: str) -> str:
    exact = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f'<time datetime="{_iso(at)}" title="{exact}">{words}</time>'


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ago(seconds: float) -> str:
    return "just now" if seconds < 60 else f"{_length(seconds)} ago"


def _in(seconds: float) -> str:
    return "in less than a minute" if seconds < 60 else f"in {_length(seconds)}"


def _length(seconds: float) -> str:
    for step, name in _STEPS:
        if seconds >= step:
            count = int(seconds // step)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "less than a minute"
