"""vnicctl completion: the script that teaches a shell to complete vnicctl."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      eval "$(vnicctl completion bash)"
      vnicctl completion fish > ~/.config/fish/completions/vnicctl.fish
    """
    from click.shell_completion import shell_complete

    from vnicd.cli.app import COMPLETE_VARIABLE, NAME, vnicctl

    shell_complete(vnicctl, {}, NAME, COMPLETE_VARIABLE, f"{shell}_source")
