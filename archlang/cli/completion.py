"""`archlang completion SHELL`: what makes the shell complete words after `archlang`.

Bash takes `:` and `=` for ends of words, so the line is passed on whole, and of each completion only what comes after
them is given back. No shell adds a space after a word that goes on: a folder, `NAME=`.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from archlang.cli.common import emit_json, json_option

VARIABLE = "_ARCHLANG_COMPLETE"
"""Where the shell's function says which completions it wants; click's name for a program called archlang."""

_BASH = """\
%(complete_func)s() {
    local line kind value
    COMPREPLY=()
    while IFS= read -r line; do
        kind="${line%%%%,*}" value="${line#*,}"
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(ARCHLANG_LINE="${COMP_LINE:0:COMP_POINT}" ARCHLANG_BREAKS="$COMP_WORDBREAKS" \\
             %(complete_var)s=bash_complete "$1")
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[/:=] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a whole partial described response
    local kind value help
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
                       %(complete_var)s=zsh_complete %(prog_name)s)}")
    for kind value help in ${response}; do
        case "$kind" in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            *)
                if [[ "$help" != "_" ]]; then described+=("$value":"$help")
                elif [[ "$value" == *[/:=] ]]; then partial+=("$value")
                else whole+=("$value")
                fi ;;
        esac
    done
    [[ -n "$described" ]] && _describe -V unsorted described -U
    [[ -n "$partial" ]] && compadd -U -S '' -V unsorted -a partial
    [[ -n "$whole" ]] && compadd -U -V unsorted -a whole
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    for line in (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %(complete_var)s=fish_complete %(prog_name)s)
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case '*'
                echo $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        return ShellComplete.source(self)  # click would start a bash to ask for its version

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["ARCHLANG_LINE"]
        words = split_arg_string(line)
        incomplete = "" if line.endswith((" ", "\t")) else words.pop()
        return words[1:], incomplete

    def complete(self) -> str:
        args, incomplete = self.get_completion_args()
        given = self._given(incomplete)
        found = self.get_completions(args, incomplete)
        return "\n".join(
            self.format_completion(CompletionItem(item.value.removeprefix(given), item.type)) for item in found
        )

    def _given(self, incomplete: str) -> str:
        """The part of the word that bash has for a word of its own."""
        breaks = [c for c in ":=" if c in os.environ.get("ARCHLANG_BREAKS", "")]
        return incomplete[: 1 + max((incomplete.rfind(c) for c in breaks), default=-1)]


class Zsh(ZshComplete):
    source_template = _ZSH


class Fish(FishComplete):
    source_template = _FISH


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def register() -> None:
    """Have click use these shells instead of its own."""
    for name, shell in SHELLS.items():
        add_completion_class(shell, name)


@click.command
@click.argument("shell", type=click.Choice(list(SHELLS)))
@json_option
def command(shell: str, as_json: bool) -> None:
    """Print the code that makes SHELL complete commands, options, files, nets, variants, passes and so on.

    \b
    bash   eval "$(archlang completion bash)"           in ~/.bashrc
    zsh    eval "$(archlang completion zsh)"            in ~/.zshrc, after compinit
    fish   archlang completion fish | source            in ~/.config/fish/config.fish
    """
    from archlang.cli import main

    source = SHELLS[shell](main, {}, "archlang", VARIABLE).source()
    if as_json:
        emit_json({"shell": shell, "source": source})
    else:
        click.echo(source, nl=False)
