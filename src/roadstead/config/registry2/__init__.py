"""The configuration of registry:2 and registry:3: its keys, and what they become here."""

from roadstead.config.registry2.conversion_callers import OPEN
from roadstead.config.registry2.draft import Assignment
from roadstead.config.registry2.environment import key_of_variable, registry_variables
from roadstead.config.registry2.finding import STOPPING, WORTH_SAYING, Finding, Verdict
from roadstead.config.registry2.keys import KEYS, Key
from roadstead.config.registry2.nodes import Mapping, Node, Scalar, Sequence, parse
from roadstead.config.registry2.reading import Registry2Configuration, is_registry2, read_tree

__all__ = [
    "KEYS",
    "OPEN",
    "STOPPING",
    "WORTH_SAYING",
    "Assignment",
    "Finding",
    "Key",
    "Mapping",
    "Node",
    "Registry2Configuration",
    "Scalar",
    "Sequence",
    "Verdict",
    "is_registry2",
    "key_of_variable",
    "parse",
    "read_tree",
    "registry_variables",
]
