"""Compound scaling: families of a network that is made deeper, wider and finer (EfficientNet, arXiv:1905.11946)."""

from archlang.scale.coefficients import EFFICIENTNET, METHODS, Scales, grid
from archlang.scale.family import family_text, write_family
from archlang.scale.ladder import Budget, Ladder, Member, Meter
from archlang.scale.scalable import Scalable, scalable
from archlang.scale.scale import Family, Scaled, Wanted, scaled

__all__ = [
    "EFFICIENTNET",
    "METHODS",
    "Budget",
    "Family",
    "Ladder",
    "Member",
    "Meter",
    "Scalable",
    "Scaled",
    "Scales",
    "Wanted",
    "family_text",
    "grid",
    "scalable",
    "scaled",
    "write_family",
]
