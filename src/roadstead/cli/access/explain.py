"""``roadstead access explain``: the decision about one user, action and repository, with its reason."""

from pathlib import Path

import click

from roadstead.access import Action, Resource, Subject
from roadstead.cli.terminal import text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line
from roadstead.cli.terminal.target import RepositoryType
from roadstead.oci import RepositoryName


class _Explain(click.Command):
    """Takes ``--anonymous`` in the place of USER: an argument that may be left out cannot stand before others."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments, with an empty USER where nobody has logged in."""
        return super().parse_args(ctx, ["", *args] if "--anonymous" in args else args)


@click.command(
    cls=_Explain,
    epilog="""\b
Examples:
  roadstead access explain alice push team/app
  roadstead access explain --anonymous pull public/app
  roadstead access explain ci delete base --config roadstead.yaml || echo no""",
)
@click.argument("user")
@click.argument("action", type=click.Choice([str(action) for action in Action]), metavar="ACTION")
@click.argument("repository", type=RepositoryType())
@click.option("--anonymous", is_flag=True, help="Ask about who has not logged in; leave out USER.")
@registry_options
def explain(
    *,
    user: str,
    action: str,
    repository: RepositoryName,
    anonymous: bool,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say whether a user may do something, by which rule, and what would change that.

    ACTION is pull, push or delete. REPOSITORY need not be there, nor does USER: rules speak of names. The answer is the
    one that a server with these settings gives, and comes from the same function. Exit code 0 is yes, 1 is no.
    """
    if not user and not anonymous:
        raise click.UsageError("USER is empty: --anonymous asks about who has not logged in")
    from roadstead.access import find_remedy  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.app import build_policy  # noqa: PLC0415
    from roadstead.config import load_settings  # noqa: PLC0415

    policy = build_policy(load_settings(config, overrides={"data.folder": data}))
    subject, asked, resource = Subject(user), Action(action), Resource(repository)
    decision = policy.decide(subject, asked, resource)
    remedy = find_remedy(policy, decision, subject, asked, resource)
    if as_json:
        print_json(
            {
                "user": user,
                "action": action,
                "repository": repository,
                "is_allowed": decision.is_allowed,
                "reason": decision.reason,
                "rule": decision.rule or None,
                "granted_by": list(decision.granted_by),
                "remedy": remedy,
            }
        )
    else:
        print_line(text.printable(f"{'Yes' if decision.is_allowed else 'No'}: {decision.reason}."))
        print_line(text.printable(remedy))
    if not decision.is_allowed:
        raise click.exceptions.Exit(ExitCode.REFUSED)
