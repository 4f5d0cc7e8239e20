"""Read and write YAML with the scalars of version 1.2, as DVC does.

There `off` and `1:30` are texts, `1e-4` and `010` numbers. PyYAML alone reads version 1.1, in which
`off` is false, `1e-4` a text and `010` eight: this package and DVC would then see different values
in the same file.
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
"""Of the scalars that the versions read differently: name, pattern and first characters.

The patterns are those of ruamel.yaml, which DVC reads with.
"""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with these scalars; it also refuses a key that stands twice in a
    mapping.
    """


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes a text that version 1.2 reads as something else."""


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
                f"key {keys[index]!r} stands twice, again in line {key_node.start_mark.line + 1}"
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(_TAG + "int", _construct_int)
_Loader.add_constructor(_TAG + "float", _construct_float)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique_mapping)


def load_yaml(text: str | bytes) -> Any:
    """Return the values in ``text``. Raises ``yaml.YAMLError``, also for a key that stands
    twice.
    """
    return yaml.load(text, Loader=_Loader)  # a safe loader


def dump_yaml(value: object) -> str:
    """Return ``value`` as text that reads back the same here, in DVC and in readers of version 1.1.

    Keys keep their order.
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False))
