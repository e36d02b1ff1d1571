"""The settings: read from a file, the environment and flags, checked together, then frozen."""

from roadstead.config.address import ListenAddress
from roadstead.config.caller_sections import (
    AccessRule,
    AccessSettings,
    EventSettings,
    NotificationEndpoint,
    NotificationSettings,
)
from roadstead.config.care_sections import GarbageSettings, LinkSettings, MaintenanceSettings, ScrubSettings
from roadstead.config.checks import database_server, require_files, with_other_database
from roadstead.config.container import runs_in_container
from roadstead.config.description import SettingDescription, describe_settings
from roadstead.config.errors import (
    AuthenticationModeUnavailableError,
    ListenAddressUnsafeError,
    Registry2KeysRefusedError,
    Registry2VariableUnusedError,
    SettingInvalidError,
    SettingsFileInvalidError,
    SettingsInvalidError,
    SettingUnknownError,
)
from roadstead.config.loading import LoadedSettings, load, load_settings
from roadstead.config.secret import SecretText
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
from roadstead.config.server_url import is_server_url, name_of, shown_url, user_of
from roadstead.config.serving_sections import HealthSettings, HttpSettings, TlsSettings
from roadstead.config.settings import Settings

__all__ = [
    "AccessRule",
    "AccessSettings",
    "AuthenticationModeUnavailableError",
    "AuthenticationSettings",
    "ContentSettings",
    "DataSettings",
    "DatabaseSettings",
    "EventSettings",
    "GarbageSettings",
    "HealthSettings",
    "HttpSettings",
    "LimitSettings",
    "LinkSettings",
    "ListenAddress",
    "ListenAddressUnsafeError",
    "ListenSettings",
    "LoadedSettings",
    "LogSettings",
    "MaintenanceSettings",
    "MetricsSettings",
    "NotificationEndpoint",
    "NotificationSettings",
    "Registry2KeysRefusedError",
    "Registry2VariableUnusedError",
    "ScrubSettings",
    "SecretSettings",
    "SecretText",
    "SettingDescription",
    "SettingInvalidError",
    "SettingUnknownError",
    "Settings",
    "SettingsFileInvalidError",
    "SettingsInvalidError",
    "StorageSettings",
    "TlsSettings",
    "database_server",
    "describe_settings",
    "is_server_url",
    "load",
    "load_settings",
    "name_of",
    "require_files",
    "runs_in_container",
    "shown_url",
    "user_of",
    "with_other_database",
]
