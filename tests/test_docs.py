"""What the documents say is so: names, links, settings, commands, layers and examples are checked against the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import venue_images
from tests.storage import test_contract
from venue_images import catalog, job_queue, stats
from venue_images.cli import app
from venue_images.conf import Settings
from venue_images.errors import ERROR_TYPES, ErrorClass, ErrorType, UploadError
from venue_images.models import UploadStatus
from venue_images.providers import PROVIDERS, VenueRecord
from venue_images.providers.base import Billing

ROOT = Path(venue_images.__file__).parent.parent
PACKAGE = ROOT / "venue_images"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
MOST_LINES = 400
#: Addresses of package registries, and folders of one machine.
NOT_FOR_FILES = re.compile(
    r"pypi\.org|pythonhosted\.org|--(extra-)?index-url|--find-links[ =]|--trusted-host[ =]|/simpl[e]/"
    r"|(?<![\w.~$}])/(work|root|home|Users)/\w"
)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(document: str, heading: str) -> str:
    _, _, rest = text_of(document).partition(f"\n## {heading}\n")
    assert rest, f"{document} has no section {heading!r}"
    return rest.split("\n## ")[0]


def table(text: str) -> list[list[str]]:
    """The cells of the table's rows, without its head."""
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code_names(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def code_blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(document), re.DOTALL)


# Links


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_internal_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for target in filter(None, (name for pair in targets for name in pair)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(path), f"{target}: there is no such heading"


# Names


def test_every_function_that_the_architecture_names_exists() -> None:
    for name in code_names(text_of("docs/architecture.md")):
        is_code = re.fullmatch(r"[a-z_]+(\.\w+)+(\(\))?", name) and not name.endswith(".py")
        if is_code and name.split(".")[0] in units():
            resolve(name.removesuffix("()"))


def resolve(name: str) -> Any:
    """The object ``venue_images.<name>``."""
    module: Any = venue_images
    for part in name.split("."):
        if not hasattr(module, part) and inspect.ismodule(module):
            importlib.import_module(f"{module.__name__}.{part}")
        module = getattr(module, part)
    return module


def test_the_files_that_the_architecture_names_exist() -> None:
    files = [name for name in code_names(section("docs/architecture.md", "Where to find what")) if name.endswith(".py")]
    assert files
    for name in files:
        assert (PACKAGE / name).is_file(), name


def test_the_error_table_is_the_one_of_the_code() -> None:
    rows = table(section("docs/architecture.md", "The errors"))
    documented = {
        ErrorType(name): ErrorClass(error_class.strip("`"))
        for error_class, _, types in rows
        for name in code_names(types)
    }
    assert documented == ERROR_TYPES


def test_the_state_table_names_every_state() -> None:
    rows = table(section("docs/architecture.md", "The states of an image"))
    assert {row[0].strip("`") for row in rows} == {str(status) for status in UploadStatus}


def test_every_job_is_in_the_architecture() -> None:
    text = section("docs/architecture.md", "Jobs")
    for name in (job_queue.CLEANUP, job_queue.RETRY, job_queue.ENRICH, job_queue.NIGHTLY):
        assert f"`{name}`" in text


# Layers


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """By module of this package: the modules of this package that it imports, wherever in the file."""
    modules = {module_of(path): path for path in SOURCES}
    return {
        name: frozenset(imported(path, frozenset(modules))) - {name, "venue_images"} for name, path in modules.items()
    }


def imported(path: Path, modules: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "venue_images":
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in modules else node.module


def unit_of(module: str) -> str:
    """The file or folder directly in the package."""
    return module.split(".")[1]


@cache
def units() -> frozenset[str]:
    return frozenset(unit_of(name) for name in imports() if "." in name)


def layers() -> list[list[str]]:
    """The table of the architecture, the highest layer first."""
    return [code_names(row[1]) for row in table(section("docs/architecture.md", "The modules, by layer"))]


def test_every_module_has_one_layer() -> None:
    assert sorted(name for layer in layers() for name in layer) == sorted(units())


def test_imports_point_down() -> None:
    depth = {name: number for number, layer in enumerate(layers()) for name in layer}
    for module, others in imports().items():
        for other in others:
            if "." in module:
                assert depth[unit_of(module)] <= depth[unit_of(other)], f"{module} imports {other}"


def test_no_import_goes_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way, module))
        if module not in done:
            for other in imports()[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in imports():
        visit(module, ())


# Settings


def setting_rows() -> dict[str, str]:
    rows = table(section("docs/operating.md", "Settings"))
    return {row[0].strip("`"): " | ".join(row[1:]) for row in rows}


def test_every_setting_is_documented_with_its_default() -> None:
    rows = setting_rows()
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"VENUE_IMAGES_{name.upper()}")
        assert variable in rows, f"{variable} is not in docs/operating.md"
        default = field.get_default() if field.default_factory is None else ""
        for value in default if isinstance(default, frozenset) else [default]:
            assert value == "" or f"`{value}`" in rows[variable], f"{variable}: the default is {value}"


def test_every_environment_variable_that_the_code_reads_is_documented() -> None:
    text = section("docs/operating.md", "Settings")
    found = {name for path in SOURCES for name in environment_variables(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"VENUE_IMAGES_SECRET_KEY", "<PROVIDER>_API_KEY"} <= found
    for name in found:
        assert f"`{name}`" in text, f"{name} is not in docs/operating.md"


def environment_variables(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func)
            if called in ("os.environ.get", "os.environ.setdefault", "os.environ.pop", "os.getenv"):
                yield from strings(node.args[0])
            elif called == "provider_setting":
                yield from (f"<PROVIDER>_{name}" for name in strings(node.args[1]))
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield from strings(node.slice)


def strings(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_the_settings_of_every_provider_are_documented() -> None:
    text = section("docs/operating.md", "Settings")
    for name, provider in PROVIDERS.items():
        needed = ["STORAGE_POLICY", *(["API_KEY", "BASE_URL"] if provider.info.needs_key else [])]
        for setting in needed:
            assert f"`{name.upper()}_{setting}`" in text


# Commands


def commands() -> Mapping[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def test_every_command_is_documented() -> None:
    rows = table(section("docs/operating.md", "Commands"))
    assert {row[0].strip("`") for row in rows} == set(commands())


def examples() -> list[str]:
    """Every command line in the documents that is meant to be typed."""
    lines = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
        inline = code_names(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines += [line for line in (*blocks.splitlines(), *inline) if re.match(r"(\S*/)?venue-images \S", line)]
    return [line for line in lines if "…" not in line and "COMMAND" not in line]


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_the_commands_in_the_documents_can_be_typed(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    assert name in commands()
    commands()[name].make_context(name, [argument for argument in arguments if argument != "--json"])


# Examples


@pytest.mark.usefixtures("jobs", "images_folder")
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    import_example(tmp_path, 0)
    [code] = code_blocks("README.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own example
    assert names["venue"].slug == "blue-note"
    assert job_queue.due_jobs() == 1


@pytest.mark.django_db
def test_the_lines_of_the_readme_can_be_imported(tmp_path: Path) -> None:
    assert import_example(tmp_path, 0).venues_created == 1
    assert import_example(tmp_path, 1).images_created == 1
    assert stats.failure_counts()["venues_with_transient"] == 1


def import_example(folder: Path, number: int) -> catalog.ImportResult:
    file = folder / f"{number}.jsonl"
    file.write_text(code_blocks("README.md", "json")[number], encoding="utf-8")
    result = catalog.import_file(file)
    assert not result.rejected
    return result


class RecordedApi:
    """Answers with one JSON document, and remembers what was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Billing]] = []

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        billing: Billing = Billing.FREE,
        at: str = "",
    ) -> Any:
        self.asked.append((path, billing))
        return json.loads(json.dumps(self.answer))


async def test_the_example_of_a_provider_works() -> None:
    provider = run_example("docs/adding-a-provider.md")["ExamplePhotos"]()
    api = RecordedApi({"photos": [{"id": "7", "url": "https://photos.example/7.jpg", "width": 1600}]})
    venue = VenueRecord(1, "blue-note", "Blue Note", "New York", None, None, {})

    [photo] = await provider.list_photos(venue, api)

    assert (photo.provider, photo.photo_id, photo.width) == ("example_photos", "7", 1600)
    assert api.asked == [("/v1/search", Billing.CALL)]
    assert await provider.resolve(photo, api) == photo
    refused = UploadError(ErrorType.FORBIDDEN, "", http_status=403)
    assert provider.classify(refused) == ErrorType.URL_EXPIRED
    assert provider.info.name not in PROVIDERS


CONTRACT = {name: test for name, test in vars(test_contract).items() if name.startswith("test_")}


@pytest.mark.parametrize("promise", CONTRACT)
async def test_the_example_of_a_storage_keeps_the_contract(promise: str, tmp_path: Path) -> None:
    storage = run_example("docs/adding-a-storage.md")["SqliteStorage"].from_url(f"sqlite://{tmp_path}/images.sqlite")
    await CONTRACT[promise](storage)
    await storage.close()


def run_example(document: str) -> dict[str, Any]:
    [code] = code_blocks(document, "python")
    names: dict[str, Any] = {"__name__": Path(document).stem}
    exec(compile(code, document, "exec"), names)  # noqa: S102 - our own example
    return names


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{venue_images.__version__}]" in text_of("CHANGELOG.md")


# Files


def test_no_source_file_is_too_long() -> None:
    kinds = (".py", ".html", ".css", ".js")
    files = [path for path in PACKAGE.rglob("*") if path.suffix in kinds and "migrations" not in path.parts]
    lengths = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def own_files() -> Iterator[Path]:
    """The files of the checkout, without what git ignores."""
    ignored = {".git", *(line.strip("/") for line in text_of(".gitignore").split())}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files if name not in ignored)


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    found = []
    for path in own_files():
        lines = path.read_bytes().decode("utf-8", "ignore").splitlines() if path.suffix != ".png" else []
        found += [f"{path.relative_to(ROOT)}: {line.strip()[:80]}" for line in lines if NOT_FOR_FILES.search(line)]
    assert found == []
