"""The description of the interface, made from the columns of a model: as OpenAPI and as a page."""

from __future__ import annotations

import html
import json
from typing import Any

from adagrad._core import __version__
from adagrad.serving.bodies import ARROW, JSON
from adagrad.serving.limits import Limits
from adagrad.serving.scorer import Scorer

__all__ = ["description", "page"]

_ERRORS = {
    400: "The body is not JSON, or not an Arrow stream.",
    408: "The request did not arrive in time.",
    413: "The body, or the batch, is larger than the limits.",
    415: "The media type is another one.",
    422: "A row cannot be read. No row is answered.",
    503: "The server is busy: try again later.",
    504: "The answer took too long.",
}


def _schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of the values of a column, by the text of its Arrow type."""
    if kind.startswith(("list<", "large_list<", "fixed_size_list<")):
        return {"type": ["array", "null"], "items": _schema(kind.partition(": ")[2].rstrip(">"))}
    if kind.startswith("map<"):
        return {"type": ["object", "null"], "additionalProperties": {"type": "number"}}
    if kind.startswith(("int", "uint")):
        return {"type": ["integer", "null"]}
    if kind in ("float", "double", "halffloat") or kind.startswith("decimal"):
        return {"type": ["number", "null"]}
    if kind == "bool":
        return {"type": ["boolean", "null"]}
    if kind.startswith("timestamp"):
        return {"type": ["string", "null"], "description": "ISO 8601"}
    return {"type": ["string", "null"]}


def _example(kind: str) -> Any:
    schema = _schema(kind)
    first = schema["type"][0]
    values: dict[str, Any] = {"integer": 1, "number": 0.5, "boolean": True, "string": "text"}
    return [_example("string")] if first == "array" else values.get(first, {"name": 1.0})


def _described(scorer: Scorer, limits: Limits) -> dict[str, Any]:
    row = {
        "type": "object",
        "properties": {name: _schema(kind) for name, kind in scorer.columns.items()},
        "additionalProperties": True,
        "description": "A row. A column that is left out, or null, is a missing value.",
    }
    one = {name: _example(kind) for name, kind in list(scorer.columns.items())[:3]}
    error = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "status": {"type": "integer"},
                    "message": {"type": "string"},
                    "row": {"type": ["integer", "null"]},
                    "column": {"type": ["string", "null"]},
                },
            }
        },
    }
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    version = {"type": "string", "description": "The version of the model that answered."}
    answers = [
        {"type": "object", "properties": {"probability": probability, "model": version}},
        {
            "type": "object",
            "properties": {
                "probabilities": {"type": "array", "items": probability},
                "model": version,
            },
        },
    ]
    arrow = {ARROW: {"schema": {"type": "string", "format": "binary"}}}
    to_error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    to_row = {"$ref": "#/components/schemas/Row"}
    batch = {"type": "array", "items": to_row, "maxItems": limits.rows}
    responses: dict[str, Any] = {
        "200": {
            "description": "Probabilities, in the order of the rows.",
            "content": {JSON: {"schema": {"oneOf": answers}}, **arrow},
        }
    }
    responses |= {
        str(code): {"description": text, "content": to_error} for code, text in _ERRORS.items()
    }
    plain = {"200": {"description": "OK"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"The probability of {scorer.label or 'a positive'}",
            "version": scorer.version,
            "description": f"A model of kind {scorer.kind}, served by adagrad {__version__}.",
        },
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Predict the probability of a positive for a row or a batch.",
                    "requestBody": {
                        "required": True,
                        "content": {
                            JSON: {"schema": {"oneOf": [to_row, batch]}, "example": one},
                            **arrow,
                        },
                    },
                    "responses": responses,
                }
            },
            "/health": {
                "get": {"summary": "What is served, by which workers.", "responses": plain}
            },
            "/metrics": {"get": {"summary": "Metrics for Prometheus.", "responses": plain}},
        },
        "components": {"schemas": {"Row": row, "Error": error}},
    }


def description(scorer: Scorer, limits: Limits) -> bytes:
    """Return the OpenAPI description as JSON."""
    return json.dumps(_described(scorer, limits), indent=1).encode()


def page(scorer: Scorer, limits: Limits) -> bytes:
    """Return a page for people, which loads nothing."""
    example = json.dumps({name: _example(kind) for name, kind in list(scorer.columns.items())[:3]})
    columns = "".join(
        f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(kind)}"
        for name, kind in scorer.columns.items()
    )
    errors = "".join(f"<tr><td>{code}<td>{html.escape(text)}" for code, text in _ERRORS.items())
    label = html.escape(scorer.label or "a positive")
    command = f"curl --json '{example}' http://HOST:PORT/predict"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>The probability of {label}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}}
td{{padding:0 1em 0 0;vertical-align:top}}pre{{background:#eee;padding:.6em;overflow:auto}}</style>
<h1>The probability of {label}</h1>
<p>Model {scorer.version}, of kind {scorer.kind}. <a href="openapi.json">OpenAPI</a>,
<a href="health">health</a>, <a href="metrics">metrics</a>.
<h2>POST /predict</h2>
<pre>{html.escape(command)}</pre>
<p>The body is a row (a JSON object), a batch (a list of objects), or an Arrow stream
(<code>{ARROW}</code>), with at most {limits.rows:,} rows in {limits.body:,} bytes. A column that is
left out, or null, is a missing value; other names are ignored, but not alone. A batch is answered
whole or refused.
<h2>Columns</h2><table>{columns}</table>
<h2>Errors</h2><table>{errors}</table>
</html>
""".encode()
