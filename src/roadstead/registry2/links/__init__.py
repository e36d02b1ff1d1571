"""The link tree of registry:2 and registry:3: the one place that knows how it is read and written."""

from roadstead.registry2.links.findings import TreeFinding, TreeFindingKind
from roadstead.registry2.links.paths import ROOT as LINK_TREE
from roadstead.registry2.links.paths import TOP_FOLDERS
from roadstead.registry2.links.protocol import LinkFiles
from roadstead.registry2.links.reader import Link, LinkTree, TagLinks, Unclear

__all__ = [
    "LINK_TREE",
    "TOP_FOLDERS",
    "Link",
    "LinkFiles",
    "LinkTree",
    "TagLinks",
    "TreeFinding",
    "TreeFindingKind",
    "Unclear",
]
