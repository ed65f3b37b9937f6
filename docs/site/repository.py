"""The site has the repository's own paths for its sources, so that a link works on both."""

import re
from pathlib import Path
from posixpath import dirname, join, normpath

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
BESIDE = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"]
BLOCKS = ["blockquote", "h1", "h2", "h3", "h4", "li", "ol", "pre", "table", "tr", "ul"]
MERMAID = "mermaid.js"
PARTS = ["build/docs/node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js", "docs/site/drawings.js"]
DRAWING = r'<div class="drawing">\g<0></div>'
# What MkDocs leaves as it is: HTML that stands in a page.
WRITTEN = re.compile(r'((?:src|srcset|href)=")([^":#]+)(?=")')
log = get_plugin_logger("repository")
as_on_github = MarkdownIt("gfm-like", {"linkify": False, "html": True})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What is below docs/ is at the site's root; pages and manifests beside it are below that."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
            files.append(_file(f"docs/{file.src_uri}", config, file.dest_uri))
    manifests = (path for path in (ROOT / "deploy").rglob("*") if path.is_file())
    for path in [*BESIDE, *(path.relative_to(ROOT).as_posix() for path in sorted(manifests))]:
        files.append(_file(path, config, "LICENSE.txt" if path == "LICENSE" else None))
    script = "\n".join((ROOT / part).read_text(encoding="utf-8") for part in PARTS)
    files.append(File.generated(config, MERMAID, content=script))
    return files


def _file(path: str, config: MkDocsConfig, to: str | None) -> File:
    return File(path, str(ROOT), config.site_dir, config.use_directory_urls, dest_uri=to)


def on_page_content(html: str, *, page: Page, files: Files, **_: object) -> str:
    """The page, with the script for its drawings; a warning if GitHub reads it otherwise."""
    expected = as_on_github.render(page.markdown or "")
    for tag in BLOCKS:
        ours, github = (len(re.findall(rf"<{tag}[ >]", text)) for text in (html, expected))
        if ours != github:
            log.warning("%s: %s <%s> here, %s on GitHub", page.file.src_uri, ours, tag, github)
    html = WRITTEN.sub(lambda each: each[1] + _address(each[2], page, files), html)
    if 'class="mermaid"' not in html:
        return html
    html = re.sub(r'<pre class="mermaid">.*?</pre>', DRAWING, html, flags=re.DOTALL)
    # Before the theme's script, which would fetch it from elsewhere.
    return f'{html}<script src="{get_relative_url(MERMAID, page.url)}"></script>'


def _address(written: str, page: Page, files: Files) -> str:
    """Where a path in the repository is on the site; what is no path there as it is."""
    path = normpath(join(dirname(page.file.src_uri), written))
    file = files.get_file_from_path(path)
    return file.url_relative_to(page.file) if file else written
