"""The composition root: settings in, applications out. The only place that constructs back ends."""

from roadstead.app.authentication import build_authentication, build_policy, check_authentication
from roadstead.app.background import background_work, build_scrubber, collect_garbage, follow_links, scrub, watch
from roadstead.app.catalogue import open_registry, prepare, tidy_up, tidy_up_alone, with_known_storage
from roadstead.app.installation import (
    CatalogueAbsentError,
    CatalogueOutdatedError,
    Installation,
    data_folder,
    open_catalogue_file,
)
from roadstead.app.listeners import (
    build_fleet_operations,
    build_main,
    build_monitor,
    build_operations,
    build_rates,
    keep_the_certificate,
)
from roadstead.app.secrets import build_secrets, key_source, master_key_files, require_master_key
from roadstead.app.server_catalogue import (
    CatalogueOccupiedError,
    CatalogueServedError,
    ServerCatalogue,
    Standing,
)
from roadstead.app.services import (
    build_link_files,
    build_registry,
    build_storage,
    build_upstream,
    close_registry,
    garbage_rules,
)

__all__ = [
    "CatalogueAbsentError",
    "CatalogueOccupiedError",
    "CatalogueOutdatedError",
    "CatalogueServedError",
    "Installation",
    "ServerCatalogue",
    "Standing",
    "background_work",
    "build_authentication",
    "build_fleet_operations",
    "build_link_files",
    "build_main",
    "build_monitor",
    "build_operations",
    "build_policy",
    "build_rates",
    "build_registry",
    "build_scrubber",
    "build_secrets",
    "build_storage",
    "build_upstream",
    "check_authentication",
    "close_registry",
    "collect_garbage",
    "data_folder",
    "follow_links",
    "garbage_rules",
    "keep_the_certificate",
    "key_source",
    "master_key_files",
    "open_catalogue_file",
    "open_registry",
    "prepare",
    "require_master_key",
    "scrub",
    "tidy_up",
    "tidy_up_alone",
    "watch",
    "with_known_storage",
]
