"""Read and write YAML with the scalars of version 1.2, as DVC does.

In version 1.2 `off` and `1:30` are texts, and `1e-4` and `010` are numbers. PyYAML alone reads
version 1.1, in which `off` is false, `1e-4` is a text and `010` is eight: this package and DVC
would then read different values from the same file.
"""

import re
from typing import Any, Final

import yaml

_TAG: Final = "tag:yaml.org,2002:"
_BASES: Final = {"0b": 2, "0o": 8, "0x": 16}
_SCALARS: Final = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?0b[0-1_]+|[-+]?0o[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?[0-9_]+", "-+0123456789"),
)
"""Name, pattern and possible first characters of each scalar type that the versions read
differently.

The patterns are those of ruamel.yaml, which DVC uses.
"""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with these scalars, which also refuses a key that occurs twice in a
    mapping.
    """


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes text that version 1.2 would read as another type."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in {_TAG + name for name, _, _ in _SCALARS}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    try:
        return int(text, _BASES.get(text.lstrip("+-")[:2], 10))
    except ValueError as error:
        raise yaml.YAMLError(
            f"{node.value!r} in line {node.start_mark.line + 1} is no whole number"
        ) from error


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    try:
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise yaml.YAMLError(
            f"{node.value!r} in line {node.start_mark.line + 1} is no number"
        ) from error


def _construct_unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, (key_node, _) in enumerate(node.value):
        if keys[index] in keys[:index]:
            raise yaml.YAMLError(
                f"key {keys[index]!r} is given twice, again in line {key_node.start_mark.line + 1}"
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(_TAG + "int", _construct_int)
_Loader.add_constructor(_TAG + "float", _construct_float)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique_mapping)


def load_yaml(text: str | bytes) -> Any:
    """Return the values in ``text``. Raise ``yaml.YAMLError`` for invalid YAML and for a key that
    occurs twice in a mapping.
    """
    return yaml.load(text, Loader=_Loader)  # `_Loader` is a safe loader.


def dump_yaml(value: object) -> str:
    """Return ``value`` as text that is read as the same value here, in DVC and in readers of
    version 1.1.

    Keys keep their order.
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False))
