"""Documentation and scripts name only what exists: modules, files, links, commands and their options."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from semcorr.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/README.md", ROOT / "NOTICE"])
FOLDERS = "src|tests|docs|configs|scripts|benchmarks|examples"
PLACEHOLDERS = ("yours",)  # in CONTRIBUTING, for a file that is to be written
SCRIPTS = sorted(path for folder in ("benchmarks", "scripts", "examples") for path in (ROOT / folder).glob("*.py"))

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or is reached from one by its attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for part in parts[end:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def inline(text: str) -> list[str]:
    """Return what stands in backticks outside of code blocks, on one line each."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def shell_lines(text: str, program: str) -> list[list[str]]:
    script = re.sub(r"\$\{[^}]*\}|\$\w+", "1", "\n".join(blocks(text, "bash")))  # a loop's variables
    lines = script.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip().startswith(f"{program} ")]


def find_command(words: list[str]):
    """Return the command that the words begin with, and what is left of them."""
    command = get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            break
        command, words = command.commands[words[0]], words[1:]
    return command, words


def anchors(page: Path) -> set[str]:
    """Return the anchors that the usual hosts make of a page's headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_modules_and_names(page):
    names = set(re.findall(r"\bsemcorr(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not resolves(name)] == []


@every_page
def test_files(page):
    named = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", page.read_text(encoding="utf-8"))
    wanted = {name for name in named if not any(word in name for word in PLACEHOLDERS)}
    assert [name for name in sorted(wanted) if not (ROOT / name).exists()] == []


@every_page
def test_links(page):
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@every_page
def test_commands_parse(page):
    for words in shell_lines(page.read_text(encoding="utf-8"), "semcorr"):
        command, rest = find_command(words[1:])
        command.make_context(" ".join(words), list(rest))  # raises UsageError for what it does not take


@every_page
def test_options_of_commands_in_the_text_exist(page):
    for code in inline(page.read_text(encoding="utf-8")):
        if not code.startswith("semcorr "):
            continue
        words = code.split()[1:]
        command, rest = find_command(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in rest if word.startswith("--") and word not in {*known, "--help"}]
        assert unknown == [], code
        assert not hasattr(command, "commands") or not rest or rest[0].startswith("-"), code


@every_page
def test_options_of_scripts_exist(page):
    text = page.read_text(encoding="utf-8")
    for words in [*shell_lines(text, "python"), *(code.split() for code in inline(text) if code.startswith("python "))]:
        if len(words) < 2 or not words[1].endswith(".py"):
            continue
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == [], " ".join(words)


@every_page
def test_python_examples_compile(page):
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_scripts_import_what_exists(script):
    tree = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
    imports = [node for node in tree if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semcorr")]
    names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    assert [name for name in names if not resolves(name)] == []
