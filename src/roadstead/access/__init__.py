"""Access: rules, callers, the decision whether somebody may do something and its reason; pure, without I/O."""

from roadstead.access.caller import Caller
from roadstead.access.decision import REGISTRY, Action, Decision, Resource, Subject
from roadstead.access.errors import AccessDeniedError, AccessError, LoginRequiredError, RuleInvalidError
from roadstead.access.explanation import find_remedy
from roadstead.access.grants import Grant, GrantSource, decide
from roadstead.access.pattern import RepositoryPattern
from roadstead.access.policy import ANONYMOUS, EVERYBODY, Policy, Rule
from roadstead.access.visible_repositories import NameRange, VisibleRepositories, visible_to_operator

__all__ = [
    "ANONYMOUS",
    "EVERYBODY",
    "REGISTRY",
    "AccessDeniedError",
    "AccessError",
    "Action",
    "Caller",
    "Decision",
    "Grant",
    "GrantSource",
    "LoginRequiredError",
    "NameRange",
    "Policy",
    "RepositoryPattern",
    "Resource",
    "Rule",
    "RuleInvalidError",
    "Subject",
    "VisibleRepositories",
    "decide",
    "find_remedy",
    "visible_to_operator",
]
