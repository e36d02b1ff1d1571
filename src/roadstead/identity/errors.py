"""Errors of people who prove who they are. Fields only; status codes stand in ``roadstead.web.errors``."""

from roadstead.errors import RoadsteadError


class CredentialsInvalidError(RoadsteadError):
    """No user has this name and password; which of the two is wrong is not said."""

    def __init__(self) -> None:
        super().__init__("the user name or the password is wrong")


class AttemptsExceededError(RoadsteadError):
    """A client has failed to log in too often, or too many are being checked, to check another password now."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many logins have failed; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class PasswordFileInvalidError(RoadsteadError):
    """A file is no password file; ``reason`` names no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the password file cannot be used: {reason}")
        self.reason = reason


class PasswordFileUnavailableError(RoadsteadError):
    """Nobody can log in, since the password file cannot be read or used; the log says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__("passwords cannot be checked at the moment")
        self.path = path
        self.reason = reason
