"""Mutations of ordinary programs: typed rewrites of the tree, each with a line that says what it did."""

from archlang.search.mutations.mutate import MUTATIONS, Mutant, Series, known, made, mutated, settled, sites
from archlang.search.mutations.normal import normal_text, ordinary
from archlang.search.mutations.subject import Subject
from archlang.search.mutations.values import Mutation, Site

__all__ = [
    "MUTATIONS",
    "Mutant",
    "Mutation",
    "Series",
    "Site",
    "Subject",
    "known",
    "made",
    "mutated",
    "normal_text",
    "ordinary",
    "settled",
    "sites",
]
