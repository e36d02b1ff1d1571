"""Explains what would have to change for a decision to be another."""

from roadstead.access.decision import Action, Decision, Resource, Subject
from roadstead.access.policy import ANONYMOUS, Policy


def find_remedy(policy: Policy, decision: Decision, subject: Subject, action: Action, resource: Resource) -> str:
    """A sentence for whoever wants to forbid what is allowed, or to allow what is not."""
    if decision.is_allowed:
        return _how_to_forbid(policy, decision)
    if subject.name:
        who = f"{subject} (or '*', for everybody who has logged in)"
        return f"To allow it: {_rule(who, action, resource)}."
    rule = _rule(f"'{ANONYMOUS}'", action, resource)
    if policy.can_log_in:
        whoever = "a user who may do it" if policy.rules else "any user"
        return f"To allow it: log in as {whoever}, or {rule}."
    return f"To allow it: {rule}."


def _how_to_forbid(policy: Policy, decision: Decision) -> str:
    if decision.granted_by:
        return f"To forbid it: narrow {_joined(decision.granted_by)} of access.rules; nothing else allows it."
    if policy.can_log_in:
        return "To forbid it: write access.rules; once there are any, what none allows is denied."
    return "To forbid it: let users log in (authentication.mode), or write access.rules, which bind everybody."


def _rule(who: str, action: Action, resource: Resource) -> str:
    return f"a rule in access.rules with {who} in users, '{resource.repository}' in repositories, {action} in actions"


def _joined(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
