"""Who may do what: rules, callers, the decision and its reason; pure, without I/O."""

from roadstead.access.caller import Caller
from roadstead.access.decision import Action, Decision
from roadstead.access.errors import AccessDeniedError, AccessError, LoginRequiredError, RuleInvalidError
from roadstead.access.pattern import RepositoryPattern
from roadstead.access.policy import ANONYMOUS, EVERYBODY, Policy, Rule
from roadstead.access.visible_repositories import NameRange, VisibleRepositories

__all__ = [
    "ANONYMOUS",
    "EVERYBODY",
    "AccessDeniedError",
    "AccessError",
    "Action",
    "Caller",
    "Decision",
    "LoginRequiredError",
    "NameRange",
    "Policy",
    "RepositoryPattern",
    "Rule",
    "RuleInvalidError",
    "VisibleRepositories",
]
