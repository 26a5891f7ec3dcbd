"""Puts the documentation site's pages together; `make docs` builds and checks the site.

    python scripts/docs.py build/docs        # pages and zensical.toml, for `zensical build`
    python scripts/docs.py build/docs --finish   # papers linked where cited, dead links reported

The guide is `docs/*.md` as it stands, with README, CONTRIBUTING and CHANGELOG. The API's pages, one
for each room, come from the docstrings; the tables of models, weights and recipes from the package.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import tubelet
from tubelet.config import Extensible
from tubelet.data.importers import FORMATS
from tubelet.data.sources import SOURCES
from tubelet.models.backbones import BACKBONES
from tubelet.models.create import ModelRecord, model_records
from tubelet.models.heads import HEADS
from tubelet.people.detectors import DETECTORS
from tubelet.playground.sources import PlaygroundClipSource, PlaygroundSource
from tubelet.recipes.records import RecipeRecord, recipe_records
from tubelet.releases.table import releases

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "tubelet"
# Reading order; pages of docs/ that are not named here follow by name.
GUIDE = (
    *(
        "own-labels",
        "data",
        "training",
        "recipes",
        "memory",
        "testing",
        "evaluation",
        "results",
        "outputs",
        "overlay",
        "own-people",
        "serving",
    ),
    *("convert", "papers", "architecture"),
)
FRONT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
BAR = "\\|"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")

STYLE = "td:first-child code { white-space: nowrap; }\n"
SETTINGS = """[project]
site_name = "tubelet"
site_description = "Who does what, where and when in a video"
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
nav = {nav}

extra_css = ["style.css"]

[project.theme]
font = false
features = ["content.code.copy", "navigation.sections", "navigation.top", "search.highlight"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"

[project.plugins.mkdocstrings.handlers.python]
paths = [{source}]

[project.plugins.mkdocstrings.handlers.python.options]
heading_level = 2
members_order = "source"
separate_signature = true
show_if_no_docstring = false
show_root_full_path = true
show_root_heading = true
show_signature_annotations = true
show_source = false
"""

Nav = list[dict[str, "str | Nav"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--finish", action="store_true", help="the site is built: finish it")
    options = parser.parse_args()
    if options.finish:
        link_papers(options.folder / "site")
        dead = dead_links(options.folder / "site")
        print("\n".join(dead) or f"no dead link in {options.folder / 'site'}")
        raise SystemExit(bool(dead))
    print(f"{len(assemble(options.folder))} pages in {options.folder / 'pages'}")


def assemble(folder: Path) -> dict[str, str]:
    """Write all pages and the site's settings below `folder`; the text by the page's path."""
    guide, decisions = guide_pages(), sorted((REPOSITORY / "docs" / "adr").glob("*.md"))
    pages = {new: _moved(REPOSITORY / old) for old, new in FRONT.items()}
    pages |= {page.name: _moved(page) for page in guide}
    pages |= {f"adr/{page.name}": _moved(page) for page in decisions}
    pages["adr/index.md"] = _decisions(decisions)
    pages |= {f"weights/{card.name}": _moved(card) for card in sorted(PACKAGE.glob("weights/*.md"))}
    pages |= {"parts.md": parts_page(), "models.md": models_page(), "weights.md": weights_page()}
    pages |= {"all-recipes.md": recipes_page(), **api_pages()}
    shutil.rmtree(folder / "pages", ignore_errors=True)
    for name, text in pages.items():
        (folder / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pages" / name).write_text(text, encoding="utf-8")
    shutil.copytree(REPOSITORY / "docs" / "pictures", folder / "pages" / "pictures")
    (folder / "pages" / "style.css").write_text(STYLE, encoding="utf-8")
    nav, source = json.dumps(navigation(pages, guide)), json.dumps(str(PACKAGE.parent))
    settings = SETTINGS.format(nav=nav.replace('":', '" ='), source=source)
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")
    return pages


def guide_pages() -> list[Path]:
    """The pages of `docs/`, in reading order."""
    found = sorted((REPOSITORY / "docs").glob("*.md"))
    return sorted(found, key=lambda p: GUIDE.index(p.stem) if p.stem in GUIDE else len(GUIDE))


def navigation(pages: Mapping[str, str], guide: Iterable[Path]) -> Nav:
    """The site's table of contents: every page once."""

    def below(folder: str) -> Nav:
        return [{title(pages[name]): name} for name in pages if name.startswith(f"{folder}/")]

    return [
        {"Start": "index.md"},
        {"Guide": [{title(pages[page.name]): page.name} for page in guide]},
        {
            "Tables": [
                {title(pages[n]): n}
                for n in ("parts.md", "models.md", "weights.md", "all-recipes.md")
            ]
        },
        {"Model cards": below("weights")},
        {"API": below("api")},
        {"Decisions": below("adr")},
        {"Contributing": "contributing.md"},
        {"Changelog": "changelog.md"},
    ]


def title(text: str) -> str:
    """A page's first heading, without markup."""
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"a page without a heading: {text[:80]!r}")
    return found[1].replace("`", "").replace("*", "")


# Links ------------------------------------------------------------------------------------------


def _page_of(path: Path) -> str | None:
    """Where a file of the repository stands in the site; None where it is no page of it."""
    name = path.relative_to(REPOSITORY).as_posix()
    if name in FRONT:
        return FRONT[name]
    if name == "docs/adr":
        return "adr/index.md"
    if name.startswith("docs/") and path.is_file():
        return name.removeprefix("docs/")
    if path.suffix == ".md" and path.parent == PACKAGE / "weights":
        return f"weights/{path.name}"
    return None


def _moved(path: Path) -> str:
    """A file's text with its links as the site's pages stand; a link to a file that is no page
    keeps its words only."""
    own = Path(_page_of(path) or path.name).parent

    def moved(link: re.Match[str]) -> str:
        mark, words, target = link.groups()
        if urlsplit(target).scheme or target.startswith("#"):
            return link[0]
        name, _, anchor = target.partition("#")
        page = _page_of((path.parent / unquote(name)).resolve())
        if page is None:
            return words
        away = Path(os.path.relpath(page, own)).as_posix()
        return f"{mark}[{words}]({away}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(moved, path.read_text(encoding="utf-8"))


def link_papers(site: Path) -> None:
    """Make every "004 §3.2" of the built pages a link to what docs/papers.md says of that paper."""
    headings = re.findall(r'<h2 id="((00[0-4])[^"]*)"', (site / "papers.html").read_text())
    anchors = {number: anchor for anchor, number in headings}
    anchors["003"] = anchors["001"]
    for path in {*site.rglob("*.html")} - {site / "papers.html"}:
        papers = Path(os.path.relpath(site / "papers.html", path.parent)).as_posix()
        link = rf'<a href="{papers}#%s">\1</a>'
        text = path.read_text(encoding="utf-8")
        for number, anchor in anchors.items():
            text = re.sub(rf"\b({number})(?= (?:§|Table |[AB]\.\d))", link % anchor, text)
        path.write_text(text, encoding="utf-8")


class _Page(HTMLParser):
    """The anchors and the link targets of one HTML page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "base":
                self.targets.append(value)


def dead_links(site: Path) -> list[str]:
    """Links of a built site to files or anchors that are not in it; other hosts are not asked."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for a server's root
            continue
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            known = there not in pages or not parts.fragment
            if not there.is_file() or not (known or parts.fragment in pages[there].anchors):
                dead.append(f"{path.relative_to(site.resolve())}: {target}")
    return dead


# Generated pages --------------------------------------------------------------------------------


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    names = list(header)

    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(str(cell).replace('|', BAR) for cell in cells)} |"

    return "\n".join([line(names), line(["---"] * len(names)), *map(line, rows)])


def _decisions(paths: Iterable[Path]) -> str:
    rows = "\n".join(f"- [{title(p.read_text(encoding='utf-8'))}]({p.name})" for p in paths)
    return f"# Decisions\n\nWhat was decided, and why.\n\n{rows}\n"


def parts_page() -> str:
    """What models and recipes are made of, as the lists of the folders have it."""

    def configured(families: Iterable[type[Extensible]]) -> str:
        rows = ((f"`{one.__name__}`", one.summary) for one in families)
        return table(("type", "what it is"), rows)

    detectors = ((f"`{one.spelling}`", one.summary) for one in DETECTORS)
    formats = (
        (f"`{one.name}`", one.about, "read" if one.write is None else "read, write")
        for one in FORMATS
    )
    parts = {
        "Backbones": configured(BACKBONES),
        "Heads": configured(HEADS),
        "Data sources": configured((*SOURCES, PlaygroundSource, PlaygroundClipSource)),
        "Person detectors": table(("name", "what it is"), detectors),
        "Annotation formats": table(("name", "what it is", "tubelet can"), formats),
    }
    start = (
        "# Parts\n\nWhat models and recipes are made of; [contributing](contributing.md) says how"
        " to add one, here or in a package of your own."
    )
    return "\n\n".join([start, *(f"## {name}\n\n{rows}" for name, rows in parts.items())]) + "\n"


def models_page() -> str:
    """The named architectures, both tasks, as `tubelet models` lists them."""

    def row(record: ModelRecord) -> tuple[str, ...]:
        view = f"{record.frames} × {record.size}²"
        cost = (f"{record.parameters / 1e6:.2f}", f"{record.gflops:.1f}", view)
        return (f"`{record.name}`", record.task, *cost, record.weights)

    header = ("architecture", "task", "params M", "GFLOPs", "view", "weights of")
    return (
        "# Models\n\nArchitectures that `tubelet.create_model` builds by name, as `tubelet models`"
        " lists them; [what they cost](models-cost.md) says how the cost is counted.\n\n"
        f"{table(header, map(row, model_records()))}\n"
    )


def weights_page() -> str:
    """The released weights, those in the package with their model cards."""

    def row(name: str) -> tuple[str, str, str]:
        release, card = releases()[name], PACKAGE / "weights" / f"{name}.md"
        link = f"[`{name}`](weights/{name}.md)" if card.exists() else f"`{name}`"
        download = f"downloaded, {(release.bytes or 0) / 1e6:.1f} MB"
        return (link, release.summary, "in the package" if release.shipped else download)

    return (
        "# Weights\n\nWhat `tubelet.load` and `--model` take by name.\n\n"
        f"{table(('weights', 'what', 'where'), map(row, releases()))}\n"
    )


def recipes_page() -> str:
    """Every recipe, by paper."""

    def scores(values: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in values.items())

    def row(record: RecipeRecord) -> tuple[str, ...]:
        cost = (f"{record.parameters / 1e6:.1f}", f"{record.gflops:.1f} × {record.views}")
        marks = (scores(record.published), scores(record.reproduced))
        return (f"`{record.name}`", *marks, record.table or "", record.model, *cost)

    papers: dict[str, list[RecipeRecord]] = {}
    for record in recipe_records():
        papers.setdefault(record.paper or "Our own", []).append(record)
    header = ("recipe", "published", "reproduced", "table", "model", "params M", "GFLOPs × views")
    parts = [f"## {paper}\n\n{table(header, map(row, papers[paper]))}" for paper in sorted(papers)]
    start = (
        "# All recipes\n\nWhat `tubelet train` runs by name; [the papers' recipes](recipes.md) says"
        " how to read it. What a paper prints and what was measured here stand apart."
    )
    return "\n\n".join([start, *parts]) + "\n"


def modules() -> Iterator[str]:
    """Dotted names of the package's modules, packages before what is in them."""
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda p: (p.parent, p.stem != "__init__", p)):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def api_pages() -> dict[str, str]:
    """A page of the public names, and one for each room."""
    rooms: dict[str, list[str]] = {}
    for name in modules():
        if name != "tubelet":
            rooms.setdefault(name.split(".")[1], []).append(name)
    pages = {"api/index.md": _public_page()}
    for room, names in sorted(rooms.items()):
        body = "\n\n".join(f"::: {name}" for name in names)
        pages[f"api/{room}.md"] = f"# tubelet.{room}\n\n{body}\n"
    return pages


def _public_page() -> str:
    rows = []
    for name in (name for name in tubelet.__all__ if not name.startswith("_")):
        home = getattr(tubelet, name).__module__
        says = (inspect.getdoc(getattr(tubelet, name)) or "").partition("\n\n")[0]
        link = f"[`{name}`]({home.split('.')[1]}.md#{home}.{name})"
        rows.append((link, says.replace("\n", " ")))
    return (
        "# Public names\n\nWhat `import tubelet` gives; all else may move between versions.\n\n"
        f"{table(('name', 'what'), rows)}\n"
    )


if __name__ == "__main__":
    main()
