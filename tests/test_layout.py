"""The rules of the house: imports run downward, and functions and files stay short enough to be read at once."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "app.py", *sorted((ROOT / "genre_gan").rglob("*.py")), *sorted((ROOT / "training").rglob("*.py"))]
# Each layer, from the lowest; a module may import from its own layer and from those below, and not from those above.
LAYERS = (
    ("audio", "features", "genres", "files"),
    ("data", "models", "evaluation", "hub", "pretrained"),
    ("classify", "generate", "spectral", "waveform"),
    ("demo",),
)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_APP_LINES = 350, 60, 100


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere, other than for types alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        waiting += ast.iter_child_nodes(node)
    return found


def files_that_import(package: str) -> set[str]:
    """The first folder below the root, or below the package, of every file that imports this."""
    users = [path.relative_to(ROOT).parts for path in FILES if any(name.split(".")[0] == package for name in imported(path))]
    return {"/".join(parts[:-1]) for parts in users}


def test_only_the_demo_imports_gradio_and_only_training_accelerate():
    assert files_that_import("gradio") == {"genre_gan/demo"}
    assert files_that_import("accelerate") == {"training"}


def test_the_package_does_not_know_training_and_nothing_but_the_app_imports_the_demo():
    for path in FILES:
        folder = path.relative_to(ROOT).parts[:2]
        names = imported(path)
        if folder[0] == "genre_gan":
            assert not any(name.split(".")[0] in ("training", "tests", "app") for name in names), path
        if folder != ("genre_gan", "demo") and path.name not in ("app.py", "deploy_space.py"):
            assert not any(name.startswith("genre_gan.demo") for name in names), path


@pytest.mark.parametrize("level", range(len(LAYERS) - 1))
def test_imports_run_downward(level):
    above = {f"genre_gan.{name}" for layer in LAYERS[level + 1 :] for name in layer}
    for path in FILES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] == "genre_gan" and parts[1] in LAYERS[level]:
            wrong = {name for name in imported(path) if ".".join(name.split(".")[:2]) in above}
            assert not wrong, f"{path.name} imports {wrong}"


ALL_FILES = [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]


@pytest.mark.parametrize("path", ALL_FILES, ids=[str(path.relative_to(ROOT)) for path in ALL_FILES])
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= (MAX_APP_LINES if path.name == "app.py" else MAX_FILE_LINES)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name
