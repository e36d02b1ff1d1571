"""The vocabulary of the field: a module for each kind of value; every instance is valid, and nothing does I/O."""

from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest, parse_algorithm
from roadstead.oci.error_code import ErrorCode
from roadstead.oci.manifest import Manifest, parse_manifest, read_annotations
from roadstead.oci.platform import Platform
from roadstead.oci.reference import RepositoryName, Tag, parse_reference, referrers_tag

__all__ = [
    "Descriptor",
    "Digest",
    "ErrorCode",
    "Manifest",
    "Platform",
    "RepositoryName",
    "Tag",
    "parse_algorithm",
    "parse_manifest",
    "parse_reference",
    "read_annotations",
    "referrers_tag",
]
