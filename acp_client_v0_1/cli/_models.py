"""Pydantic models for an agent, from the schemas in its descriptor: ``acp-client models``.

Strategy: the schemas go to datamodel-code-generator as one document, each below ``$defs`` under the
name of its class. They are foreign input. So a reference must stay in its own schema, and what the
generator would copy into the module as code is taken out.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from acp_client_v0_1._arguments import imported
from acp_client_v0_1._text import short
from acp_client_v0_1.exceptions import ApiException
from acp_client_v0_1.models import AgentACPSpec

# The members of a schema whose own members are schemas, and those that hold any JSON.
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_VALUES = frozenset(("const", "enum", "default", "example", "examples"))
# The generator copies these into the module as names of Python, or reads references by them.
_DROPPED = re.compile(r"x-|custom(Base|Type)Path$|\$(id|anchor|dynamicAnchor)$")
_OPTIONS: dict[str, Any] = {
    "input_file_type": "jsonschema",
    "output_model_type": "pydantic_v2.BaseModel",
    "target_python_version": "3.10",
    "skip_root_model": True,
    "parent_scoped_naming": True,
    "use_annotated": True,
    "field_constraints": True,
    "use_standard_collections": True,
    "use_union_operator": True,
    "use_schema_description": True,
    "enum_field_as_literal": "all",
    "allow_population_by_field_name": True,
    # A schema allows members that it does not name.
    "allow_extra_fields": True,
    "treat_dot_as_module": False,
    "formatters": [],
}


def module_of(agent: str, specs: AgentACPSpec) -> str:
    """Return the text of a module with the models of an agent.

    Raises:
        ApiValueError: datamodel-code-generator is missing.
        ApiException: A schema cannot be turned into models. The error names the schema.
    """
    generator = imported("datamodel_code_generator", "models", "codegen")
    schemas: dict[str, Any] = {
        "input": specs.input,
        "output": specs.output,
        "config": specs.config,
        "update": specs.custom_streaming_update,
    }
    for each in specs.interrupts or ():
        schemas[f"{each.interrupt_type} question"] = each.interrupt_payload
        schemas[f"{each.interrupt_type} answer"] = each.resume_payload
    named: dict[str, Any] = {}
    for name, schema in schemas.items():
        if schema is not None:
            kind = _class_name(f"{agent} {name}", named)
            named[kind] = _inside(schema, f"#/$defs/{kind}", name)
            # Alone, so that an error is of this schema.
            _generated(generator, {kind: named[kind]}, name)
    header = f"# The models of the agent {agent!a}, as its server describes it."
    return _generated(generator, named, "document", header)


def _class_name(words: str, taken: Mapping[str, Any]) -> str:
    name = "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", words))
    name = number = name if name[0].isalpha() else f"Agent{name}"
    while number in taken:
        number += "_"
    return number


def _inside(top: dict[str, Any], root: str, name: str) -> Any:
    """Copy a schema that gets the place ``root`` in a document."""

    def copied(schema: object, *, is_schema: bool = True) -> Any:
        if isinstance(schema, list):
            return [*map(copied, cast("list[object]", schema))]
        if not isinstance(schema, dict):
            return schema
        copy: dict[str, Any] = {}
        for key, value in cast("dict[str, Any]", schema).items():
            if is_schema and key == "$ref":
                copy[key] = root + _pointer(str(value), top, name)
            elif is_schema and key in _VALUES:
                copy[key] = value
            elif not (is_schema and _DROPPED.match(key)):
                copy[key] = copied(value, is_schema=not (is_schema and key in _NAMED))
        return copy

    return copied(top)


def _pointer(reference: str, top: dict[str, Any], name: str) -> str:
    """Return the JSON Pointer of a reference into a schema (RFC 6901, 6), or raise an error."""
    place: Any = top
    try:
        if not re.match("#(/|$)", reference):
            raise KeyError(reference)
        for part in unquote(reference).split("/")[1:]:
            place = place[part.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError) as error:
        words = f"the {short(name)} schema refers to {short(reference)}, which it does not have"
        raise ApiException(reason=f"{words}; nothing is fetched") from error
    return reference[1:]


def _generated(generator: Any, schemas: Mapping[str, Any], name: str, header: str = "#") -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text: str = generator.generate(
                json.dumps({"$defs": schemas}), custom_file_header=header, **_OPTIONS
            )
        compile(text, "models", "exec")
    except Exception as error:
        why = " ".join(str(error).split())
        raise ApiException(
            reason=f"the {short(name)} schema gives no models: {short(why)}"
        ) from error
    return text
