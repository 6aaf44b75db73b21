"""The provider's published schemas. Optional fields have no null there, yet the API sends nulls: strip them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "specs" / "openai"


def line_schema(name: str) -> dict[str, Any]:
    """`BatchRequestInput` or `BatchRequestOutput`, where null is written as OpenAPI 3.0 does."""
    return _nullable(json.loads((FOLDER / "batch-line-schemas.2025-06.json").read_text())[name])


def object_schema(name: str) -> dict[str, Any]:
    """A component of the API's description, with the others beside it."""
    document = json.loads((FOLDER / "openapi.batch-files-uploads.subset.json").read_text())
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def without_nulls(value: Any) -> Any:
    """The document without what is null."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_nullable(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _nullable(value) for name, value in schema.items() if name != "x-oaiMeta"}
    return {"anyOf": [{"type": "null"}, inner]} if inner.pop("nullable", False) is True else inner


def anthropic_schema(name: str) -> dict[str, Any]:
    """A model of Anthropic's SDK (2.11.0) as JSON Schema."""
    path = FOLDER.parent / "anthropic" / "sdk-2.11.0-batch-schemas.json"
    schema: dict[str, Any] = json.loads(path.read_text())[name]
    return schema
