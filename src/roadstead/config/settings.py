"""All settings together."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from roadstead.config.sections import (
    AuthenticationSettings,
    ContentSettings,
    DatabaseSettings,
    DataSettings,
    LimitSettings,
    ListenSettings,
    LogSettings,
    MetricsSettings,
    StorageSettings,
)

DATABASE_FILE: Final = "roadstead.db"
STORAGE_FOLDER: Final = "registry"
SECRETS_FOLDER: Final = "secrets"


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set; what is not said has the default that suits one machine."""

    listen: ListenSettings = ListenSettings()
    data: DataSettings = DataSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    authentication: AuthenticationSettings = AuthenticationSettings()
    content: ContentSettings = ContentSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def database_file(self) -> Path:
        """Where the catalogue is."""
        url = self.database.url
        return Path(url.removeprefix("sqlite://")) if url else self.data.folder / DATABASE_FILE

    @property
    def storage_folder(self) -> Path:
        """Where blobs are."""
        url = self.storage.url
        return Path(url.removeprefix("file://")) if url else self.data.folder / STORAGE_FOLDER

    @property
    def secrets_folder(self) -> Path:
        """Where keys and generated passwords are; for the server's user only (mode 0700)."""
        return self.data.folder / SECRETS_FOLDER
