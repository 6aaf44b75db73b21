"""Pages about what a user writes: the spec, its schema, the settings, the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from pages import table

WIDTH: Final = 100


def cli() -> str:
    """Every verb's help."""
    import click

    from overnight.cli.group import MODULES, VERBS, command

    settings: dict[str, Any] = {
        "terminal_width": WIDTH,
        "max_content_width": WIDTH,
        "help_option_names": ["-h", "--help"],
    }
    context = click.Context(command, info_name="overnight", **settings)
    parts = [
        "# Command line\n\n"
        "Messages go to standard error, answers to standard output; `--json` makes of an answer one JSON document. "
        "What the exit codes mean is told in [exit codes](exit-codes.md), the settings in "
        "[configuration](configuration.md): a verb takes them before or after its name.\n\n"
        f"```text\n{command.get_help(context)}\n```\n"
    ]
    assert set(MODULES) == {verb for verbs in VERBS.values() for verb in verbs}
    for section, verbs in VERBS.items():
        parts.append(f"\n## {section}\n")
        for verb in verbs:
            found = command.get_command(context, verb)
            assert found is not None
            own = click.Context(found, info_name=verb, parent=context, **settings)
            parts.append(f"\n### {verb}\n\n```text\n{found.get_help(own)}\n```\n")
    return "".join(parts)


def configuration() -> str:
    """Settings, and which of several wins."""
    from overnight.config import settings_table
    from overnight.core.catalog import PROVIDERS

    variables = [
        (f"`{variable}`", provider.name, what)
        for provider in PROVIDERS.values()
        for names, what in (
            (provider.keys, "the key; nothing else holds one"),
            (provider.base_urls, "where the API is; `base_url` of a spec stands above it"),
            ((provider.organization,), "organisation that is billed"),
            ((provider.project,), "project that is billed"),
            ((provider.location,), "where it runs"),
            ((provider.storage,), "where the service is that keeps the files"),
            ((provider.version,), "version of the API"),
        )
        for variable in names
        if variable is not None
    ]
    return (
        "# Configuration\n\n"
        "A setting is taken from the first of these that has it: the flag (`--home`), the variable (`OVERNIGHT_HOME`), "
        "the file, the default. `overnight doctor` shows each with its origin.\n\n"
        "The file is TOML: `config.toml` in the user's configuration directory, or where `OVERNIGHT_CONFIG` says. "
        "Relative paths in it stand from the file, all others from the working directory. Unknown fields are "
        "refused.\n\n"
        f"{settings_table()}\n"
        "`poll`, `visibility` and `lease` stand above the same fields under `policy` of a [spec](spec.md), and those "
        "above the defaults. The home is made with mode 0700, the files in it with 0600.\n\n"
        "## Keys\n\n"
        "Keys come from the variables of the providers' own SDKs and from nowhere else; they are shown nowhere, and "
        "stand in no file of ours. Of several variables the first that is set counts. `local/...` and `fake/...` need "
        "none.\n\n"
        f"{table(('variable', 'provider', 'what'), variables)}\n"
        "## Providers in the file\n\n"
        "A table of the file changes what is known of a provider, or adds one that speaks like another "
        "([adding a provider](adding-a-provider.md)):\n\n"
        "```toml\n"
        "[providers.groq]\n"
        "bytes = 190_000_000        # most bytes in one batch file\n\n"
        "[providers.acme]           # the model is then acme/NAME\n"
        'like = "openai"            # whose API it has\n'
        'base_url = "https://api.acme.example/v1"\n'
        'key = "ACME_API_KEY"       # the variable that holds the key; none: it needs no key\n'
        "rows = 10_000              # most requests in one batch\n"
        "hours = 48                 # until an unfinished batch expires\n"
        "```\n"
    )


def spec() -> str:
    """The fields of a spec."""
    from msgspec import inspect as structs

    from overnight.spec import Spec

    rows = list(_fields(structs.type_info(Spec), ""))
    return (
        "# Spec\n\n"
        "A job as YAML, or as the same names in Python. `overnight init` writes one with every field explained, "
        "`--print-spec` shows the one that a command stands for, and [spec.schema.json](spec.schema.json) is its JSON "
        "Schema for editors. Paths are relative to the file. An error names file, line and field.\n\n"
        "On the command line every field can be given as `--set policy.retries=3`; the usual ones have flags of their "
        "own (`overnight run --help`).\n\n"
        f"{table(('field', 'type', 'default', 'what'), rows)}"
    )


def _fields(kind: Any, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    import msgspec
    from msgspec import inspect as structs

    for field in kind.fields:
        name = f"{prefix}{field.encode_name}"
        assert isinstance(field.type, structs.Metadata), f"{name} has no description"
        inner = _struct(field.type)
        many = isinstance(field.type.type, structs.VarTupleType)
        default = "required" if field.required else ""
        if field.default is not msgspec.NODEFAULT and inner is None:
            value = msgspec.to_builtins(field.default)
            default = "" if value is None else f"`{json.dumps(value)}`"
        what = (field.type.extra_json_schema or {})["description"]
        yield f"`{name}`", "" if inner is not None and not many else _words(field.type), default, what
        if inner is not None:
            yield from _fields(inner, f"{name}{'[]' if many else ''}.")


def _struct(kind: Any) -> Any:
    """The struct that a field holds, alone or many of them, or None."""
    from msgspec import inspect as structs

    match kind:
        case structs.StructType():
            return kind
        case structs.Metadata():
            return _struct(kind.type)
        case structs.VarTupleType():
            return _struct(kind.item_type)
        case structs.UnionType():
            return next(filter(None, map(_struct, kind.types)), None)
        case _:
            return None


def _words(kind: Any) -> str:
    from msgspec import inspect as structs

    match kind:
        case structs.Metadata():
            return _words(kind.type)
        case structs.UnionType():
            return " or ".join(_words(one) for one in kind.types if not isinstance(one, structs.NoneType))
        case structs.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case structs.VarTupleType():
            return "list" if isinstance(kind.item_type, structs.StructType) else f"list of {_words(kind.item_type)}"
        case structs.TupleType():
            return "[" + ", ".join(map(_words, kind.item_types)) + "]"
        case structs.IntType() | structs.FloatType():
            word = "whole number" if isinstance(kind, structs.IntType) else "number"
            bounds = ((">=", kind.ge), (">", kind.gt), ("<=", kind.le), ("<", kind.lt))
            return " ".join([word, *(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)])
        case structs.BoolType():
            return "true, false"
        case structs.DictType():
            return "mapping"
        case structs.StrType():
            return "text"
        case _:
            raise TypeError(kind)


def spec_schema() -> str:
    """The JSON Schema of a spec."""
    from overnight.specfile import spec_schema as schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
