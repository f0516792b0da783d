"""A hook of mkdocs: fills the reference pages from the commands, the docstrings and the JSON schema, so that none can rot."""

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the generated part in the place of its mark."""
    for mark, make in (("commands", commands), ("python", modules), ("answer", schema)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", make())
    return markdown


def commands() -> str:
    """Every command with its arguments and options."""
    import typer

    from medclip.cli.app import app

    return "\n".join(_command(typer.main.get_command(app), "medclip"))


def _command(command: Any, name: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for sub in command.commands.values():
            if not sub.hidden:
                yield from _command(sub, f"{name} {sub.name}")
        return
    yield f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n"
    rows = [_parameter(one) for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    if rows:
        yield "| | | |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _parameter(one: Any) -> str:
    said = (getattr(one, "help", None) or "").replace("|", "\\|")
    if one.param_type_name == "argument":
        return f"| `{one.name.upper()}` | {'' if one.required else 'optional'} | {said} |"
    names = ", ".join(f"`{name}`" for name in one.opts)
    default = one.default if isinstance(one.default, int | float | str) and one.default not in ("", False) else None
    shown = "required" if one.required else f"`{default}`" if default is not None else ""
    return f"| {names} | {shown} | {said} |"


def modules() -> str:
    """Every public name of every module, from the source, so that no library need be there."""
    return "\n".join(part for top in ("medclip", "index") for file in sorted((ROOT / top).rglob("*.py"))
                     if not {"cli", "index"} & set(file.relative_to(ROOT / top).parts) for part in _module(file))  # fmt: skip


def _module(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = next((ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
                  and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"), [])  # fmt: skip
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    public = [found[name] for name in named if name in found]
    if not public:
        return
    place = file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    yield f"## {place if place.startswith('medclip') else f'medclip.{place}'}\n"
    yield f"{_escaped(ast.get_docstring(tree) or '')}\n"
    for node in public:
        yield from _entry(node)


def _entry(node: Any) -> Iterator[str]:
    yield f"**{_signature(node)}**\n"
    yield f"{_escaped(ast.get_docstring(node) or '')}\n"
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and ast.get_docstring(part):
                yield f"- `{_signature(part).strip('`')}`: {_escaped((ast.get_docstring(part) or '').splitlines()[0])}"
        yield ""


def _signature(node: Any) -> str:
    if isinstance(node, ast.ClassDef):
        return f"`class {node.name}`"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"`{node.name}({ast.unparse(node.args)}){returns}`"


def _escaped(text: str) -> str:
    """A docstring as Markdown: what is indented stays so, references in single quotes are code already."""
    return text.replace("``", "`").replace("<", "&lt;")


def schema() -> str:
    """Every object of the answer, as a table of its fields."""
    whole = json.loads((ROOT / "docs" / "answer.schema.json").read_text(encoding="utf-8"))
    parts = []
    for name, known in [("Answer", whole), *whole["$defs"].items()]:
        rows = [
            f"| `{field}` | {_kind(spec)} | {spec.get('description', '')} |"
            for field, spec in known["properties"].items()
        ]
        parts.append(
            f"## {name}\n\n{known.get('description', '')}\n\n| field | type | |\n| --- | --- | --- |\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def _kind(spec: dict[str, Any]) -> str:
    if "$ref" in spec:
        return str(spec["$ref"]).rpartition("/")[2]
    if "anyOf" in spec:
        return " or ".join(_kind(one) for one in spec["anyOf"])
    if "enum" in spec:
        return " or ".join(f"`{one}`" for one in spec["enum"])
    if spec.get("type") == "array":
        return f"list of {_kind(spec['items'])}"
    if spec.get("type") == "object" and isinstance(spec.get("additionalProperties"), dict):
        return f"object of {_kind(spec['additionalProperties'])}"
    return f"`{spec['const']}`" if "const" in spec else str(spec.get("type", ""))
