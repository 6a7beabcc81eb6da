"""Validates each example of an OpenAPI document against its schema (JSON Schema 2020-12, formats included).

    examples.py docs/openapi.json
"""

import json
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = "urn:contract"


def examples(document):
    """Gives where each example stands, its value and its schema."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            at = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", []):
                yield f"{at}: parameter {parameter['name']}", parameter["example"], parameter["schema"]
            contents = [("body", operation["requestBody"])] if "requestBody" in operation else []
            contents += list(operation["responses"].items())
            for where, holder in contents:
                for media, content in holder.get("content", {}).items():
                    if "example" in content:
                        yield f"{at}: {where} {media}", content["example"], content["schema"]
                    for name, example in content.get("examples", {}).items():
                        value = document["components"]["examples"][example["$ref"].rsplit("/", 1)[1]]["value"]
                        yield f"{at}: {where} {name}", value, content["schema"]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    registry = Registry().with_resource(ROOT, Resource(document, DRAFT202012))
    count, wrong = 0, []
    for where, value, schema in examples(document):
        schema = json.loads(json.dumps(schema).replace('"#/', f'"{ROOT}#/'))
        validator = Draft202012Validator(
            schema, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        count += 1
        wrong += [f"{where}: {error.message}" for error in validator.iter_errors(value)]
    for operations in document["paths"].values():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                without_body = status in ("101", "304")
                for media, content in response.get("content", {}).items():
                    if "example" not in content and not content.get("examples"):
                        wrong.append(f"{operation['operationId']} {status} {media} has no example")
                if not response.get("content") and not without_body:
                    wrong.append(f"{operation['operationId']} {status} has no content")
    print(f"{count} examples, {len(wrong)} wrong")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong or count == 0 else 0)


if __name__ == "__main__":
    main()
