"""What MkDocs does for the site besides: pages that stand outside docs/, each method in the menu, and links to no page,
which become words."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

OUTSIDE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site -> file at the top of the project."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\\.)+)\]\(([^()\s]+)\)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Put the methods' pages below their index in the menu."""
    methods = sorted(path.name for path in Path(config.docs_dir, "methods").glob("*.md"))
    places = ["methods/index.md", *(f"methods/{name}" for name in methods if name != "index.md")]
    config.nav = [{"Methods": places} if "Methods" in entry else entry for entry in config.nav]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/."""
    top = Path(config.docs_dir).parent
    for page, name in OUTSIDE.items():
        files.append(File.generated(config, page, content=(top / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to pages of the site, or to nowhere."""
    parts = CODE.split(markdown)
    texts = (
        part if at % 2 else LINK.sub(lambda link: _turned(link, page, files), part) for at, part in enumerate(parts)
    )
    return "".join(texts)


def _turned(link: re.Match[str], page: Any, files: Any) -> str:
    text, target = link[1], link[2]
    if target.startswith(("#", "https://")):
        return link[0]
    here = page.file.src_uri
    stands = posixpath.dirname(OUTSIDE.get(here, f"docs/{here}"))
    path, _, anchor = target.partition("#")
    of_project = posixpath.normpath(posixpath.join(stands, path))
    pages = {name: uri for uri, name in OUTSIDE.items()}
    uri = pages.get(of_project, of_project.removeprefix("docs/") if of_project.startswith("docs/") else "")
    if not (uri and files.get_file_from_path(uri)):
        shown = re.sub(r"\\(.)", r"\1", text)
        return text if shown == of_project else f"{text} (`{of_project}`)"
    turned = posixpath.relpath(uri, posixpath.dirname(here) or ".")
    return f"[{text}]({turned}{'#' if anchor else ''}{anchor})"
