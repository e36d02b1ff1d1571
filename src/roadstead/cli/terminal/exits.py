"""The one table from error class to exit code, with what the command line says where the error itself says too little.

An error has the entry of its own class or of the nearest class above it; a test sees that no domain's error has to do
with the last one, for ``RoadsteadError`` itself.
"""

import os
from collections.abc import Callable
from typing import Any, Final

from roadstead import access, app, backup, certificates, config, database, identity, secrets, storage
from roadstead.cli.terminal import text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.refusal import CommandRefusedError, EndpointSilentError
from roadstead.cli.terminal.target import spell
from roadstead.database import copy_errors
from roadstead.errors import RoadsteadError
from roadstead.jobs import LeaseLostError
from roadstead.oci import errors as oci
from roadstead.registry import errors as registry
from roadstead.registry.garbage.holds import HoldLapsedError
from roadstead.registry.operation.confirmation import StorageUnconfirmedError
from roadstead.registry.operation.storage_owner import StorageForeignError, StorageMissingError
from roadstead.remotes import UpstreamError, UpstreamUrlInvalidError
from roadstead.storage.bucket_place import BucketUrlInvalidError


def _repository_unknown(error: registry.RepositoryUnknownError) -> str:
    return f"there is no repository {error.repository}; `roadstead ls` lists those there are"


def _manifest_unknown(error: registry.ManifestUnknownError) -> str:
    if not error.repository:
        return f"the manifest {error.reference} was deleted meanwhile"
    remedy = f"`roadstead ls {error.repository}` lists its tags"
    return f"there is no {spell(error.repository, error.reference)}; {remedy}"


def _manifest_invalid(error: oci.ManifestInvalidError) -> str:
    return f"the stored manifest is damaged ({error.reason}); `roadstead check` says more"


def _catalogue_damaged(error: database.DatabaseDamagedError) -> str:
    remedy = "`roadstead check` names what is; restore roadstead.db from a backup, or run `roadstead rebuild`"
    return f"the catalogue is damaged ({error.detail}); {remedy}"


def _storage_error(error: storage.StorageError) -> str:
    return f"{error}: {text.printable(error.key)}" if error.key else str(error)


def _catalogue_unavailable(error: database.DatabaseUnavailableError) -> str:
    return f"the catalogue cannot be used ({error.detail}); check that you may read and write the data folder"


def _server_unavailable(error: database.ServerUnavailableError) -> str:
    return f"{text.printable(error.detail)}: {error.remedy}"


def _address_unsafe(error: config.ListenAddressUnsafeError) -> str:
    if not config.runs_in_container(os.environ):
        return str(error)
    return (
        f"{error.address} of this container may be published, and nobody would be asked who they are; accept that:\n"
        "  docker run -e ROADSTEAD_AUTHENTICATION__MODE=none …\n"
        "or give it a file of users, made with `roadstead htpasswd` or Apache's:\n"
        '  docker run -v "$PWD/htpasswd:/etc/roadstead/htpasswd:ro" \\\n'
        "    -e ROADSTEAD_AUTHENTICATION__HTPASSWD_FILE=/etc/roadstead/htpasswd …"
    )


def _folder_forbidden(error: storage.DataFolderForbiddenError) -> str:
    if not config.runs_in_container(os.environ):
        return str(error)
    privileges = " --cap-drop ALL" if error.owner == 0 else ""  # root owns all that it writes and needs none
    return (
        f"user {error.user} of this container may not write to {error.path}, which belongs to"
        f" {error.owner}:{error.group}; run it as the owner:\n"
        f"  docker run --user {error.owner}:{error.group}{privileges} …"
    )


def _storage_foreign(error: StorageForeignError) -> str:
    owner = f"that is in {error.catalogue}" if error.catalogue else "that nobody can name"
    is_server = config.is_server_url(error.catalogue)
    named = "it with --database" if is_server else "its folder with --data"
    rebuilt = "" if is_server else " `roadstead rebuild` makes a new one, or"
    return (
        f"the blobs in {error.root} belong to the catalogue {owner}: name {named}, or give this one blobs of its own;"
        f" if that catalogue is lost,{rebuilt} `roadstead serve --claim-storage` takes the blobs over for this one"
    )


def _storage_missing(error: StorageMissingError) -> str:
    return (
        f"{error.reason} ({error.root}): mount it, or name the right place as storage.url; if the blobs are lost for"
        " good, `roadstead serve --claim-storage` goes on without them"
    )


def _master_key(error: secrets.MasterKeyError) -> str:
    return f"{text.printable(error.source)}: {error}; {error.remedy}"


_Sentence = Callable[[Any], str]

EXITS: Final[dict[type[RoadsteadError], tuple[ExitCode, _Sentence]]] = {
    CommandRefusedError: (ExitCode.REFUSED, str),
    # the thing that was asked for
    registry.RepositoryUnknownError: (ExitCode.REFUSED, _repository_unknown),
    registry.ManifestUnknownError: (ExitCode.REFUSED, _manifest_unknown),
    registry.ManifestBlobUnknownError: (ExitCode.REFUSED, str),
    registry.ManifestDigestMismatchError: (ExitCode.REFUSED, str),
    registry.BlobUnknownError: (ExitCode.REFUSED, str),
    access.AccessError: (ExitCode.REFUSED, str),
    identity.AttemptsExceededError: (ExitCode.REFUSED, str),
    identity.CredentialsInvalidError: (ExitCode.REFUSED, str),
    registry.BlobQuarantinedError: (ExitCode.DAMAGED, str),
    registry.BlobReferencedError: (ExitCode.REFUSED, str),
    registry.NothingToRestoreError: (ExitCode.REFUSED, str),
    registry.UploadUnknownError: (ExitCode.REFUSED, str),
    registry.UploadOffsetError: (ExitCode.REFUSED, str),
    registry.UploadBusyError: (ExitCode.REFUSED, str),
    registry.UploadDigestMismatchError: (ExitCode.REFUSED, str),
    registry.UploadSizeMismatchError: (ExitCode.REFUSED, str),
    registry.BlobTooLargeError: (ExitCode.REFUSED, str),
    registry.RegistryReadOnlyError: (ExitCode.REFUSED, str),
    registry.RegistryClosedError: (ExitCode.REFUSED, str),
    # the way in which it was asked for
    access.RuleInvalidError: (ExitCode.USAGE, str),
    identity.HashRefusedError: (ExitCode.USAGE, str),
    identity.PasswordFileInvalidError: (ExitCode.REFUSED, str),
    identity.PasswordFileUnavailableError: (ExitCode.UNREACHABLE, str),
    oci.NameInvalidError: (ExitCode.USAGE, str),
    oci.TagInvalidError: (ExitCode.USAGE, str),
    oci.DigestInvalidError: (ExitCode.USAGE, str),
    config.SettingsInvalidError: (ExitCode.USAGE, str),
    config.ListenAddressUnsafeError: (ExitCode.USAGE, _address_unsafe),
    certificates.CertificateNameInvalidError: (ExitCode.USAGE, str),
    certificates.CertificateExistsError: (ExitCode.REFUSED, str),
    certificates.CertificateError: (ExitCode.UNREACHABLE, str),
    secrets.MasterKeyError: (ExitCode.USAGE, _master_key),
    secrets.MasterKeyUnreadableError: (ExitCode.UNREACHABLE, _master_key),
    secrets.SecretError: (ExitCode.REFUSED, str),
    # where it is kept
    EndpointSilentError: (ExitCode.UNREACHABLE, str),
    app.CatalogueAbsentError: (ExitCode.UNREACHABLE, str),
    app.CatalogueOutdatedError: (ExitCode.UNREACHABLE, str),
    app.CatalogueOccupiedError: (ExitCode.REFUSED, str),
    app.CatalogueServedError: (ExitCode.REFUSED, str),
    StorageUnconfirmedError: (ExitCode.REFUSED, str),
    storage.DataFolderError: (ExitCode.UNREACHABLE, str),
    storage.DataFolderForbiddenError: (ExitCode.UNREACHABLE, _folder_forbidden),
    storage.StorageError: (ExitCode.UNREACHABLE, _storage_error),
    StorageForeignError: (ExitCode.REFUSED, _storage_foreign),
    StorageMissingError: (ExitCode.UNREACHABLE, _storage_missing),
    database.DatabaseError: (ExitCode.UNREACHABLE, str),
    copy_errors.CopyRefusedError: (ExitCode.REFUSED, str),
    copy_errors.CopyDiffersError: (ExitCode.REFUSED, str),
    database.DatabaseUnavailableError: (ExitCode.UNREACHABLE, _catalogue_unavailable),
    LeaseLostError: (ExitCode.UNREACHABLE, str),
    database.ServerUnavailableError: (ExitCode.UNREACHABLE, _server_unavailable),
    backup.BackupError: (ExitCode.UNREACHABLE, str),
    backup.BackupBusyError: (ExitCode.REFUSED, str),
    backup.SnapshotUnknownError: (ExitCode.REFUSED, str),
    backup.DataFolderOccupiedError: (ExitCode.REFUSED, str),
    UpstreamError: (ExitCode.UNREACHABLE, str),
    UpstreamUrlInvalidError: (ExitCode.USAGE, str),
    BucketUrlInvalidError: (ExitCode.USAGE, str),
    HoldLapsedError: (ExitCode.UNREACHABLE, str),
    # the things that were found
    secrets.SecretDamagedError: (ExitCode.DAMAGED, str),
    secrets.SecretStateInvalidError: (ExitCode.DAMAGED, str),
    backup.SnapshotDamagedError: (ExitCode.DAMAGED, str),
    backup.BackupMarkerDamagedError: (ExitCode.DAMAGED, str),
    backup.PruningRefusedError: (ExitCode.DAMAGED, str),
    backup.BackupBlobDamagedError: (ExitCode.DAMAGED, str),
    database.DatabaseDamagedError: (ExitCode.DAMAGED, _catalogue_damaged),
    oci.ManifestInvalidError: (ExitCode.DAMAGED, _manifest_invalid),
    RoadsteadError: (ExitCode.UNREACHABLE, str),
}


def explain(error: RoadsteadError) -> tuple[str, ExitCode]:
    """Returns a sentence that says what is wrong and what to do, and the exit code."""
    code, sentence = next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)
    return sentence(error), code
