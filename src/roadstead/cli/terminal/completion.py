"""``roadstead completion``: prints the script that lets a shell complete commands, options, repositories and tags."""

import click

from roadstead.cli.terminal.shells import COMPLETION_VARIABLE, SHELLS


@click.command(
    epilog="""\b
Put it where your shell looks for completions, once:
  bash   mkdir -p ~/.local/share/bash-completion/completions
         roadstead completion bash > ~/.local/share/bash-completion/completions/roadstead
  zsh    roadstead completion zsh > "${fpath[1]}/_roadstead"
  fish   roadstead completion fish > ~/.config/fish/completions/roadstead.fish
\b
Or try it in this shell only:
  source <(roadstead completion bash)"""
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script that completes commands in your shell.

    It completes commands, options, and the names of repositories and tags in --data (or ./data).
    """
    program = click.get_current_context().find_root().command
    click.echo(SHELLS[shell](program, {}, "roadstead", COMPLETION_VARIABLE).source().strip())
