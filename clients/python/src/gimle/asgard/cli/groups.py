"""`asgard org` and `asgard team`: who belongs together, and may be shared with as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from gimle.asgard.cli.identity import SERVER, AsJson, Server, done, opened, say, say_all
from gimle.asgard.cli.speaking import fail, plain_errors


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind of group is called: by people, in RPCs, and by an example's handle."""

    command: str
    noun: str
    plural: str
    rpc: str
    handle: str


ORGANIZATION = Words("org", "organization", "organizations", "Organization", "o/acme")
TEAM = Words("team", "team", "teams", "Team", "t/ml-team")

_Slug = Annotated[str, typer.Argument(help="What its handle ends with: acme, of o/acme.")]
_User = Annotated[str, typer.Argument(help="@handle or id of a user.")]


def app_of(words: Words) -> typer.Typer:
    """The commands of a kind of group."""
    noun, called, handle = words.noun, f"asgard {words.command}", words.handle
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        help=f"{noun.title()}s and their members.",
    )
    id_field = f"{noun}_id"

    def said(group: str) -> str:
        """A handle may be given by its slug alone."""
        known = "/" in group or group.startswith(("org_", "team_"))
        return group if known else f"{handle[:2]}{group}"

    def create(
        slug: _Slug,
        name: Annotated[str, typer.Option(help="Its name, for people.")] = "",
        org: Annotated[str, typer.Option(help="The organization it is a part of (teams).")] = "",
        server: Server = SERVER,
        as_json: AsJson = False,
    ) -> None:
        fields = {"slug": slug, "name": name}
        if org:
            if words is ORGANIZATION:
                fail("--org is for teams", "an organization is a part of nothing")
            fields["organization_id"] = org if "/" in org or org[:4] == "org_" else f"o/{org}"
        with opened(server) as identity:
            say(identity.call(f"Create{words.rpc}", **fields)[noun], as_json)

    def listed(server: Server = SERVER, as_json: AsJson = False) -> None:
        with opened(server) as identity:
            rows = identity.all(f"List{words.rpc}s", words.plural)
            say_all(rows, ("slug", "name", "id"), f"No {words.plural}.", as_json)

    def show(group: str, server: Server = SERVER, as_json: AsJson = False) -> None:
        with opened(server) as identity:
            say(identity.call(f"Get{words.rpc}", **{id_field: said(group)})[noun], as_json)

    def delete(
        group: str,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        server: Server = SERVER,
        as_json: AsJson = False,
    ) -> None:
        if not yes and not typer.confirm(f"Delete the {noun} {said(group)}?", err=True):
            fail("nothing was deleted")
        with opened(server) as identity:
            identity.call(f"Delete{words.rpc}", **{id_field: said(group)})
        done({"deleted": said(group)}, f"Deleted {said(group)}", as_json)

    def members(group: str, server: Server = SERVER, as_json: AsJson = False) -> None:
        with opened(server) as identity:
            rows = identity.all("ListMembers", "members", scope_id=said(group))
            say_all(rows, ("handle", "role", "name", "id"), "No members.", as_json)

    def add(
        group: str,
        user: _User,
        admin: Annotated[
            bool, typer.Option("--admin", help="Let them add and remove members.")
        ] = False,
        server: Server = SERVER,
        as_json: AsJson = False,
    ) -> None:
        from gimle.asgard.v1.principal_pb2 import Member

        role = Member.ROLE_ADMIN if admin else Member.ROLE_MEMBER
        with opened(server) as identity:
            row = identity.call("SetMember", scope_id=said(group), user_id=user, role=role)
        done(row["member"], f"{user} is {row['member']['role']} of {said(group)}", as_json)

    def remove(group: str, user: _User, server: Server = SERVER, as_json: AsJson = False) -> None:
        with opened(server) as identity:
            row = identity.call("RemoveMember", scope_id=said(group), user_id=user)
        gone = "is no member any more" if row["removed"] else "was no member"
        done(row, f"{user} {gone} of {said(group)}", as_json)

    for name, command, purpose, examples in (
        ("create", create, f"Make a {noun}, which you administer then.", _making(words)),
        ("list", listed, f"List the {words.plural} that you see.", ("list", "list --json")),
        ("show", show, f"Show a {noun}.", (f"show {handle}",)),
        (
            "delete",
            delete,
            f"Delete a {noun} that owns nothing any more.",
            (f"delete {handle} -y",),
        ),
        ("members", members, f"List the members of a {noun}.", (f"members {handle}",)),
        (
            "add",
            add,
            f"Make a user a member of a {noun}, or change the role.",
            (f"add {handle} @alice", f"add {handle} @bob --admin"),
        ),
        ("remove", remove, "End a membership.", (f"remove {handle} @bob",)),
    ):
        lines = "\n".join(f"{called} {example}" for example in examples)
        help = f"{purpose}\n\nExamples:\n\n```\n{lines}\n```"
        app.command(name, help=help)(plain_errors(command))
    return app


def _making(words: Words) -> tuple[str, ...]:
    if words is ORGANIZATION:
        return ('create acme --name "Acme Labs"',)
    return ("create ml-team --org acme", 'create friends --name "Friends of ours"')
