"""All settings together."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from roadstead.config.caller_sections import AccessSettings, EventSettings, NotificationSettings
from roadstead.config.care_sections import GarbageSettings, LinkSettings, MaintenanceSettings, ScrubSettings
from roadstead.config.sections import (
    AuthenticationSettings,
    ContentSettings,
    DatabaseSettings,
    DataSettings,
    LimitSettings,
    ListenSettings,
    LogSettings,
    MetricsSettings,
    SecretSettings,
    StorageSettings,
)
from roadstead.config.server_url import is_server_url
from roadstead.config.serving_sections import HealthSettings, HttpSettings, TlsSettings

DATABASE_FILE: Final = "roadstead.db"
STORAGE_FOLDER: Final = "registry"
SECRETS_FOLDER: Final = "secrets"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings; each one that is not given has a default that suits one machine."""

    listen: ListenSettings = ListenSettings()
    http: HttpSettings = HttpSettings()
    tls: TlsSettings = TlsSettings()
    data: DataSettings = DataSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    secrets: SecretSettings = SecretSettings()
    authentication: AuthenticationSettings = AuthenticationSettings()
    access: AccessSettings = AccessSettings()
    content: ContentSettings = ContentSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    garbage: GarbageSettings = GarbageSettings()
    links: LinkSettings = LinkSettings()
    scrub: ScrubSettings = ScrubSettings()
    events: EventSettings = EventSettings()
    notifications: NotificationSettings = NotificationSettings()
    health: HealthSettings = HealthSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def has_database_server(self) -> bool:
        """True if the catalogue is on a server, which any number of replicas share."""
        return self.database.url is not None and is_server_url(self.database.url)

    @property
    def database_file(self) -> Path:
        """The file of the catalogue, where it is one."""
        url = self.database.url
        if url is None or self.has_database_server:
            return self.data.folder / DATABASE_FILE
        return Path(url.removeprefix("sqlite://"))

    @property
    def storage_folder(self) -> Path:
        """The folder of the blobs."""
        url = self.storage.url
        return Path(unquote(url.removeprefix("file://"))) if url else self.data.folder / STORAGE_FOLDER

    @property
    def secrets_folder(self) -> Path:
        """The folder of keys and generated passwords, for the server's user only (mode 0700)."""
        return self.data.folder / SECRETS_FOLDER
