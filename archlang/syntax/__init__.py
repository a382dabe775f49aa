"""Text <-> Program."""

from archlang.source import Source
from archlang.syntax.parser import parse
from archlang.syntax.printer import print_program

__all__ = ["format_text", "parse", "print_program"]


def format_text(source: Source) -> str:
    """The file as the formatter writes it. Raises ArchError where it does not parse."""
    return print_program(parse(source))
