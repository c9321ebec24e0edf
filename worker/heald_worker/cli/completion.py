"""`heald completion`: bash, zsh and fish complete verbs, options and their values, by click's own scripts.

Such a script calls `heald` with the words that were typed in variables of the environment, and `VARIABLE` set.
"""

from __future__ import annotations

import re

import click
from click.shell_completion import get_completion_class, shell_complete

VARIABLE = "_HEALD_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script with which a shell completes heald's verbs and options.

    \b
    bash: eval "$(heald completion bash)"    in ~/.bashrc
    zsh:  eval "$(heald completion zsh)"     in ~/.zshrc, after compinit
    fish: heald completion fish > ~/.config/fish/completions/heald.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.Command("heald"), {}, "heald", VARIABLE).source())


def complete(heald: click.Command, instruction: str) -> int:
    """Tell a shell what may follow the words in its variables.

    Where nothing can be told it is 1 and nothing is said, as somebody is typing.
    """
    try:
        return shell_complete(heald, {}, "heald", VARIABLE, instruction)
    except Exception:  # noqa: BLE001  an error in the middle of a line that is typed helps nobody
        return 1


def run_as_command() -> click.Command:
    """`heald run` as click would know it; it reads its own command line, and its help names its options."""
    from heald_producer.capture import HELP

    named = re.findall(r"^  (?:-\w, )?(--[a-z-]+)( [A-Z]+)?", HELP, re.MULTILINE)
    options = [click.Option([flag], is_flag=not value) for flag, value in named]
    command = click.Argument(["command"], nargs=-1, type=click.Path())
    return click.Command(
        "run",
        params=[*options, command],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
