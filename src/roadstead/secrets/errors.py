"""Errors of secrets; the texts name no file, since clients may be told them: the fields are for the command line."""

from roadstead.errors import RoadsteadError


class SecretError(RoadsteadError):
    """A secret cannot be had, or not be kept."""


class MasterKeyError(SecretError):
    """The master key cannot be used.

    ``source`` is where it was looked for (a file or a setting), ``remedy`` what to do; neither has a key in it.
    """

    def __init__(self, problem: str, source: str, remedy: str) -> None:
        super().__init__(problem)
        self.source = source
        self.remedy = remedy


class MasterKeyMissingError(MasterKeyError):
    """There is no master key where it should be, or nobody has said where that is."""


class MasterKeyInvalidError(MasterKeyError):
    """The file or setting of a master key has something else in it."""


class MasterKeyUnreadableError(MasterKeyError):
    """The file of the master key cannot be read or written."""


class MasterKeyUnknownError(MasterKeyError):
    """Secrets are sealed under master keys that this server does not have; ``needed`` are their ids."""

    def __init__(self, needed: tuple[str, ...], source: str, remedy: str) -> None:
        super().__init__(
            f"secrets of this registry are sealed under master key {', '.join(needed)}, which this server does not"
            " have",
            source,
            remedy,
        )
        self.needed = needed


class RotationSupersededError(SecretError):
    """Another rotation, to another master key, has begun meanwhile."""

    def __init__(self) -> None:
        super().__init__("another rotation has begun meanwhile: see `roadstead secrets status`")


class SecretStateInvalidError(SecretError):
    """The record of which master key is in use cannot be read."""

    def __init__(self) -> None:
        super().__init__(
            "the record of the master key in use cannot be read: a newer version wrote it, or it is damaged"
        )


class SecretNameInvalidError(SecretError):
    """A name that no secret may have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no name of a secret: 1 to 128 of a to z, 0 to 9, '.', '_', '-' and '/', no mark at its head"
        )
        self.name = name


class SecretUnknownError(SecretError):
    """There is no secret of that name, or it is of the other kind; ``reason`` says which."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"there is no such secret: {name} {reason}")
        self.name = name


class SecretKindError(SecretError):
    """A secret of that name is there, of another kind."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"{name} is a {kind} already: choose another name")
        self.name = name


class SecretsExceededError(SecretError):
    """There are as many secrets as may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} secrets, which is the most: remove some, or renew with --revoke")
        self.most = most


class SecretDamagedError(SecretError):
    """A sealed value is not what was sealed, or not under this name: nothing of it can be believed."""

    def __init__(self, name: str, generation: int) -> None:
        super().__init__(f"the secret {name}, generation {generation}, is damaged: renew it, or enter it again")
        self.name = name
        self.generation = generation
