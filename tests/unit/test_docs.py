"""What the documentation points at exists: files, links, anchors, names, sections of papers."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import tubelet
from tubelet.data.sources import SOURCES
from tubelet.models.backbones import BACKBONES
from tubelet.models.heads import HEADS
from tubelet.recipes import recipe_names

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "tubelet"
PAGES = sorted(
    path
    for folder in (".", "docs", "docs/adr", "examples", "src/tubelet/weights")
    for path in (REPOSITORY / folder).glob("*.md")
)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
FOLDERS = ("benchmarks", "docs", "examples", "scripts", "src", "tests")


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as hosts of repositories make them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def dead(text: str, at: Path) -> list[str]:
    """Links of a page at `at` to files or headings that do not exist; the net is not asked."""
    found = []
    for target in LINK.findall(FENCE.sub("", text)):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        there = at.parent / unquote(parts.path) if parts.path else at
        if not there.exists() or (
            parts.fragment
            and there.suffix == ".md"
            and not parts.fragment.startswith(
                "tubelet."
            )  # mkdocstrings': the site's build checks it
            and parts.fragment not in anchors(there.read_text(encoding="utf-8"))
        ):
            found.append(target)
    return found


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def exist(pattern: str, root: Path) -> bool:
    """`a/{b,c}/*.md`: each of the alternatives has a file."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return any(root.glob(pattern.rstrip("/")))
    return all(exist(pattern.replace(braces[0], one, 1), root) for one in braces[1].split(","))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead(page.read_text(encoding="utf-8"), page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    named = [s for s in spans(page.read_text(encoding="utf-8")) if s.split("/")[0] in FOLDERS]
    files = [s for s in named if re.fullmatch(r"[\w./*{},-]*[\w*]/?[\w./*{},-]+", s) and "/" in s]
    # NAME is the reader's to choose.
    assert [f for f in files if not exist(f.replace("NAME", "*"), REPOSITORY)] == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n[a](other.md) [b](page.md#one-two-three) [c](#four)\n")
    assert dead(page.read_text(), page) == ["other.md", "#four"]
    assert not exist("{page,other}.md", tmp_path) and exist("{page}.*", tmp_path)


PAPERS = (REPOSITORY / "docs" / "papers.md").read_text(encoding="utf-8")


# Every section, table and figure of the papers that says what is built or found.
PRINTED = {
    "000": "§1 §2.1 §2.2 §2.3 §2.4 §3.1 §3.2 §3.3, Table 1, Table 2, Table 3, Table 4",
    "001": "§1 §1.1 §2 §2.1 §3 §3.1, Table 1, Table 2, Table 3",
    "002": "§3 §3.1 §3.2 §3.3 §4.1 §4.2 §4.3 A.1 A.2 A.3, Table 1, Table 2, Table 3, Table 4, "
    "Table 5, Table 6, Table 7, Table 8, Table 9, Figure 1, Figure 3",
    "004": "§3.1 §3.2 §3.3 §4.1 §4.2 §4.3 §4.4 §4.5 B.1 B.2 B.3 B.4, Eq. 1, Eq. 2, Eq. 3, Eq. 4, "
    "Table 1, Table 2, Table 3, Table 4, Table 5, Table 6, Table 7, Table 8, Figure 3, Figure 4, "
    "Figure 5",
}
PLACE = re.compile(r"§[\d.]*\d|\b[AB]\.\d|(?:Table|Figure|Eq\.) \d")


def rows_of_papers() -> dict[str, list[list[str]]]:
    """For each paper the rows of its table: where printed, what, where here, faithful."""
    parts = re.split(r"^## (.+)$", PAPERS, flags=re.MULTILINE)[1:]
    found = {}
    for head, text in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        found[head[:3]] = [row for row in rows if row[0] != "where printed"]
    return found


def test_every_section_and_table_of_the_papers_has_a_row_that_says_how_faithful_it_is() -> None:
    rows = rows_of_papers()
    for number, printed in PRINTED.items():
        places = [PLACE.findall(row[0]) for row in rows[number]]
        assert set(PLACE.findall(printed)) - {one for row in places for one in row} == set(), number
        for row in rows[number]:
            assert len(row) == 4 and all(row), row
            assert any(span.endswith((".py", "/")) for span in spans(row[2])), row


def _has(module: Any, name: str) -> bool:
    """A class, function or constant of a module, or a field of one of its classes."""
    owner, _, field = name.partition(".")
    found = getattr(module, owner, None)
    return found is not None and (not field or field in {*dir(found), *fields_of(found)})


def fields_of(found: Any) -> set[str]:
    return set(getattr(found, "__dataclass_fields__", {}))


def test_what_the_page_of_papers_names_exists() -> None:
    recipes = list(recipe_names("*"))
    for line in PAPERS.splitlines():
        named = spans(line)
        files = [span for span in named if span.endswith((".py", "/"))]
        for span in files:
            assert exist(span, PACKAGE) or exist(span, REPOSITORY), span
        modules = [
            importlib.import_module(f"tubelet.{span[:-3].replace('/', '.')}")
            for span in files
            if (PACKAGE / span).is_file()
        ]
        for span in set(named) - set(files):
            if not fnmatch.filter(recipes, span) and not span.startswith("tubelet "):
                assert any(_has(module, span) for module in modules), span


def test_sections_that_are_cited_stand_on_the_page_of_papers() -> None:
    parts = re.split(r"^## (.+)$", PAPERS, flags=re.MULTILINE)[1:]
    listed = {
        number: PLACE.findall(text)
        for head, text in zip(parts[::2], parts[1::2], strict=True)
        for number in re.findall(r"00\d", head)
    }
    cited = {
        (number, section)
        for path in PACKAGE.rglob("*.py")
        for number, section in re.findall(
            r"\b(00[0-4]) (§[\d.]*\d|[AB]\.\d|Table \d)", path.read_text(encoding="utf-8")
        )
    }
    assert len(cited) > 15
    assert sorted((n, s) for n, s in cited if s not in listed[n]) == []


def _docs() -> Any:
    spec = importlib.util.spec_from_file_location("docs", REPOSITORY / "scripts" / "docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sites_pages_are_whole(tmp_path: Path) -> None:
    docs = _docs()
    pages = docs.assemble(tmp_path)
    for name, text in pages.items():
        assert dead(text, tmp_path / "pages" / name) == [], name
    settings = tomllib.loads((tmp_path / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(_leaves(settings["project"]["nav"])) == sorted(pages)
    assert {f"docs/{p.name}" for p in docs.guide_pages()} == {
        name_of(p) for p in PAGES if p.parent.name == "docs"
    }
    for name in tubelet.__all__[:-1]:
        assert name.startswith("_") or f"[`{name}`]" in pages["api/index.md"]
    assert all(f"| `{name}` |" in pages["all-recipes.md"] for name in recipe_names("*"))
    listed = [*BACKBONES, *HEADS, *SOURCES]
    assert all(f"| `{one.__name__}` | {one.summary} |" in pages["parts.md"] for one in listed)


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [leaf for row in nav for value in row.values() for leaf in _leaves(value)]


def test_the_changelog_leads_to_the_version() -> None:
    """Released as the topmost version, or on the way to the next while something is unreleased."""
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    (first, entries), (released, _) = zip(parts[::2], parts[1::2], strict=True)
    assert first == "Unreleased" and re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", released)
    version, last = tubelet.__version__, released.split()[0]
    if entries.strip():
        assert version.endswith(".dev0") and _numbers(version) > _numbers(last)
    else:
        assert version == last


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:3]]
