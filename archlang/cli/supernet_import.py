"""`archlang supernet import`: a supernet that another project trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archlang.cli.common import emit_json, json_option, net_options

_FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("checkpoint", type=_FILE)
@net_options
@click.option("-o", "--output", type=_FILE, required=True, metavar="FILE.safetensors")
@json_option
def import_command(
    checkpoint: Path, spec: str, net: str | None, overrides: dict[str, Any], output: Path, as_json: bool
) -> None:
    """Take the weights of mit-han-lab/once-for-all's OFAMobileNetV3 as the supernet of SPEC, `zoo:ofa_mbv3`.

    CHECKPOINT: the release's state dict, a .pth file or .safetensors. Its kernel transformation comes with it.

    \b
    archlang supernet import ofa_mbv3_d234_e346_k357_w1.0.pth zoo:ofa_mbv3 -o ofa.safetensors
    archlang supernet cut ofa.safetensors zoo:ofa_mbv3 --smallest -o smallest.arch
    """
    from archlang import weights
    from archlang.cli.supernet import space_of
    from archlang.supernet.ofa import once_for_all

    made = once_for_all(weights.load(checkpoint), space_of(spec, net, overrides))
    made.save(output)
    params = sum(value.numel() for value in made.parameters())
    if as_json:
        emit_json({"output": str(output), "space": made.space.name, "params": params})
    else:
        click.echo(f"wrote {output}: the supernet of {made.space.name}, {params:,} parameters")
