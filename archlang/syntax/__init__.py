"""Text <-> Program. The printer is loaded when something is printed."""

from archlang.source import Source
from archlang.syntax.parser import parse

__all__ = ["format_text", "parse"]


def format_text(source: Source) -> str:
    """The file as the formatter writes it. Raises ArchError where it does not parse."""
    from archlang.syntax.printer import print_program

    return print_program(parse(source))
