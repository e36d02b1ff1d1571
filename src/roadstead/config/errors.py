"""Errors of the settings, for the person who starts the server: they name files and variables."""

from roadstead.errors import RoadsteadError


class SettingsInvalidError(RoadsteadError):
    """The server cannot start with these settings.

    ``source`` is where the value came from (a file and key path, a variable, a flag), ``reason`` what is wrong,
    ``remedy`` what to do.
    """

    def __init__(self, source: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"{source}: {reason}" + (f"; {remedy}" if remedy else ""))
        self.source = source
        self.reason = reason
        self.remedy = remedy


class SettingsFileInvalidError(SettingsInvalidError):
    """The settings file cannot be read or is no YAML mapping."""


class SettingUnknownError(SettingsInvalidError):
    """The settings file cannot be read or is no YAML mapping."""

    def __init__(self, source: str, nearest: str | None) -> None:
        remedy = f"did you mean {nearest}?" if nearest else "remove it, or see the reference of settings"
        super().__init__(source, "unknown setting", remedy)
        self.nearest = nearest


class SettingInvalidError(SettingsInvalidError):
    """A value does not have the type or lies outside the bounds of its key."""


class Registry2KeysRefusedError(SettingsInvalidError):
    """Keys of registry:2's configuration that cannot be honoured and must not be ignored, or that are wrong.

    ``problems`` has a line for each: where it is set, what it is, what to use instead.
    """

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        listed = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(source, f"the server does not start with this configuration of registry:2:{listed}")
        self.problems = problems


class Registry2VariableUnusedError(SettingsInvalidError):
    """A variable of registry:2 that somebody relies on has no effect, since no file of registry:2 is in use."""

    def __init__(self, source: str, remedy: str) -> None:
        super().__init__(source, "registry:2's variables count only together with its file", remedy)


class AuthenticationModeUnavailableError(SettingsInvalidError):
    """A way to authenticate that this version does not have yet."""

    def __init__(self, source: str, mode: str) -> None:
        super().__init__(
            source,
            f"authentication mode {mode!r} is not available in this version",
            "use none, and listen on a loopback address or let a proxy in front ask who is there",
        )
        self.mode = mode


class ListenAddressUnsafeError(SettingsInvalidError):
    """The registry would be open to the network without anybody having said so."""

    def __init__(self, source: str, address: str) -> None:
        super().__init__(
            source,
            f"{address} can be reached from other machines and nobody would be asked who they are",
            "listen on 127.0.0.1, or accept this with --auth none (authentication.mode: none in the file)",
        )
        self.address = address
