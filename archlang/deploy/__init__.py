"""Bundles: a model with all that a person needs to ship it."""

from archlang.deploy.bundle import TARGETS, Bundle, deploy

__all__ = ["TARGETS", "Bundle", "deploy"]
