"""Whether a YAML file meets a JSON Schema, in the opinion of python-jsonschema.

usage: schema.py [--refuses] SCHEMA FILE      with --refuses it must not
"""

import json
import sys

import jsonschema
import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.2 as the product reads it: dates stay strings."""


DROPPED = ("tag:yaml.org,2002:timestamp",)
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def main() -> int:
    arguments = sys.argv[1:]
    refuses = arguments[:1] == ["--refuses"]
    schema_path, file_path = arguments[refuses:]
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    with open(file_path, encoding="utf-8") as file:
        document = yaml.load(file, Loader)
    validator_class = jsonschema.validators.validator_for(schema)
    validator_class.check_schema(schema)
    errors = list(validator_class(schema).iter_errors(document))
    for error in errors:
        print(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
    return int(bool(errors) != refuses)


if __name__ == "__main__":
    sys.exit(main())
