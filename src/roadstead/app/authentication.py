"""Authentication and access rules of one process, made from settings."""

from roadstead.access import Policy, Rule, RuleInvalidError
from roadstead.clock import SystemClock
from roadstead.config import Settings, SettingsInvalidError
from roadstead.identity import HtpasswdFile, PasswordFileInvalidError, Passwords
from roadstead.web.authentication import Authentication


def build_policy(settings: Settings) -> Policy:
    """The rules of access.

    Raises:
        SettingsInvalidError: one of them cannot be understood.
    """
    rules: list[Rule] = []
    for number, rule in enumerate(settings.access.rules, 1):
        try:
            rules.append(Rule.parse(rule.users, rule.repositories, rule.actions))
        except RuleInvalidError as error:
            remedy = "see access.rules in the reference of settings"
            raise SettingsInvalidError(f"access.rules, rule {number}", str(error), remedy) from None
    return Policy(rules, can_log_in=settings.authentication.mode != "none")


def build_authentication(settings: Settings) -> Authentication:
    """The authentication and access rules that the settings ask for; whoever builds it closes it.

    Raises:
        SettingsInvalidError: the rules cannot be understood, or there is no password file.
    """
    policy = build_policy(settings)
    wanted = settings.authentication
    if wanted.mode == "none":
        return Authentication(policy, realm=wanted.realm)
    if wanted.mode != "htpasswd" or wanted.htpasswd_file is None:
        raise SettingsInvalidError(
            "authentication.htpasswd_file", "there is no password file", "name one with --htpasswd"
        )
    passwords = Passwords(wanted.htpasswd_file, SystemClock(), remember_seconds=wanted.remember_seconds)
    return Authentication(policy, passwords, realm=wanted.realm)


def check_authentication(settings: Settings) -> None:
    """Refuses a start that would let nobody in.

    Raises:
        SettingsInvalidError: as ``build_authentication``, or the password file cannot be read or used.
    """
    build_authentication(settings).close()
    file = settings.authentication.htpasswd_file
    if settings.authentication.mode != "htpasswd" or file is None:
        return
    try:
        HtpasswdFile.parse(file.read_bytes())
    except (OSError, PasswordFileInvalidError) as error:
        reason = f"{file}: {error.strerror if isinstance(error, OSError) else error}"
        remedy = f"make it with `roadstead htpasswd {file} USER`"
        raise SettingsInvalidError("authentication.htpasswd_file", reason, remedy) from None
