"""The settings: read from a file, the environment and flags, checked together, then frozen."""

from roadstead.config.address import ListenAddress
from roadstead.config.description import SettingDescription, describe_settings
from roadstead.config.errors import (
    AuthenticationModeUnavailableError,
    ListenAddressUnsafeError,
    SettingInvalidError,
    SettingsFileInvalidError,
    SettingsInvalidError,
    SettingUnknownError,
)
from roadstead.config.loading import load_settings
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
    StorageSettings,
)
from roadstead.config.settings import Settings

__all__ = [
    "AuthenticationModeUnavailableError",
    "AuthenticationSettings",
    "ContentSettings",
    "DataSettings",
    "DatabaseSettings",
    "LimitSettings",
    "ListenAddress",
    "ListenAddressUnsafeError",
    "ListenSettings",
    "LogSettings",
    "MetricsSettings",
    "SecretText",
    "SettingDescription",
    "SettingInvalidError",
    "SettingUnknownError",
    "Settings",
    "SettingsFileInvalidError",
    "SettingsInvalidError",
    "StorageSettings",
    "describe_settings",
    "load_settings",
]
