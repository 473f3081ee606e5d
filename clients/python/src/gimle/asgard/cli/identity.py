"""`asgard user` and `asgard keys`: who there is, and by which keys programs say who they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gimle.asgard.cli.speaking import console, error_console, fail, plain_errors

if TYPE_CHECKING:
    from gimle.asgard.client.identity import Identity

SERVER = "grpc://localhost:50051"

Server = Annotated[
    str,
    typer.Option(
        envvar="ASGARD_IDENTITY_SERVER",
        help="Where IdentityService is: `asgard monitor` at 50051, `asgard serve asset` at "
        "grpc://HOST:50052; grpcs:// over TLS. Who asks is said by ASGARD_API_KEY.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]

users = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Users: who may own things, and be shared with.",
)
keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="API keys: by which programs say whom they act for.",
)


def opened(server: str) -> Identity:
    """The service at an address."""
    from gimle.asgard.client.identity import Identity

    return Identity(server)


def say(row: Any, as_json: bool) -> None:
    """Say one thing, a field a line."""
    if as_json:
        console().print_json(json.dumps(row))
        return
    for field, value in row.items():
        if value not in (None, [], ""):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            console().print(f"{field:<16} {text}", markup=False)


def say_all(rows: Iterable[Any], fields: tuple[str, ...], none: str, as_json: bool) -> None:
    """Say many things, one a line."""
    found = list(rows)
    if as_json:
        console().print_json(json.dumps(found))
        return
    if not found:
        console().print(none, markup=False)
        return
    table = [fields, *([_text(row[field]) for field in fields] for row in found)]
    widths = [max(len(row[column]) for row in table) for column in range(len(fields))]
    for number, row in enumerate(table):
        line = "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))
        console().print(line.rstrip(), style=None if number else "bold", markup=False)


def done(row: Any, words: str, as_json: bool) -> None:
    """Say what was done, in words or as what is there now."""
    if as_json:
        console().print_json(json.dumps(row))
    else:
        console().print(words, markup=False)


def _text(value: Any) -> str:
    return "-" if value in (None, "") else " ".join(str(value).split())


def me(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Say who you are to the service.

    Examples:

    ```
    asgard user me
    ASGARD_API_KEY=sk_user_... asgard user me --json | jq -r .id
    ```
    """
    with opened(server) as identity:
        say(identity.call("GetMe")["principal"], as_json)


def create_user(
    handle: Annotated[str, typer.Argument(help="What the user is named by, without the @.")],
    name: Annotated[str, typer.Option(help="Their name, for people.")] = "",
    email: Annotated[str | None, typer.Option(help="Their address.")] = None,
    id: Annotated[
        str, typer.Option("--id", help="The `sub` of the OIDC provider; else an id is made.")
    ] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Make a user. With an OIDC provider this is not needed: who signs in is one.

    Examples:

    ```
    asgard user create alice --name "Alice Ames"
    asgard user create bob --id "auth0|64f1" --email bob@example.org
    ```
    """
    with opened(server) as identity:
        made = identity.call("CreateUser", user_id=id, handle=handle, name=name, email=email)
    say(made["user"], as_json)


def list_users(server: Server = SERVER, as_json: AsJson = False) -> None:
    """List users: those you share an organisation or a team with, or all for administrators.

    Examples:

    ```
    asgard user list
    asgard user list --json | jq -r '.[].handle'
    ```
    """
    with opened(server) as identity:
        rows = identity.all("ListUsers", "users")
        say_all(rows, ("handle", "name", "id", "disabled_at"), "No users.", as_json)


def show_user(
    user: Annotated[str, typer.Argument(help="@handle or id.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show a user.

    Examples:

    ```
    asgard user show @alice
    ```
    """
    with opened(server) as identity:
        say(identity.call("GetUser", user_id=user)["user"], as_json)


def delete_user(
    user: Annotated[str, typer.Argument(help="@handle or id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Shut a user out for good: keys are revoked, memberships end. What they made stays.

    Examples:

    ```
    asgard user delete @mallory --yes
    ```
    """
    if not yes and not typer.confirm(f"Shut {user} out for good?", err=True):
        fail("nothing was changed")
    with opened(server) as identity:
        identity.call("DeleteUser", user_id=user)
    done({"deleted": user}, f"Shut out {user}", as_json)


def create_key(
    name: Annotated[str, typer.Argument(help="What it is for, in words.")],
    kind: Annotated[
        str, typer.Option("--type", help="user, agent (90 days) or worker (of one run).")
    ] = "user",
    days: Annotated[int | None, typer.Option(help="For how many days it is good.")] = None,
    user: Annotated[str, typer.Option(help="Whose it is, @handle or id; else yours.")] = "",
    experiment: Annotated[str | None, typer.Option(help="A worker's experiment.")] = None,
    variation: Annotated[int | None, typer.Option(help="A worker's variation.")] = None,
    run: Annotated[int | None, typer.Option(help="A worker's run.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is printed once, and cannot be had again.

    Examples:

    ```
    asgard keys create laptop
    asgard keys create ci --type agent --days 30
    asgard keys create gpu-7 --type worker --experiment 0198... --variation 0 --run 0
    export ASGARD_API_KEY=$(asgard keys create laptop --json | jq -r .key)
    ```
    """
    from gimle.asgard.v1.principal_pb2 import ApiKey

    types = dict(ApiKey.KeyType.items())
    number = types.get(f"KEY_TYPE_{kind.upper()}")
    if not number:
        fail(f"--type is {kind!r}", "give user, agent or worker")
    with opened(server) as identity:
        made = identity.call(
            "CreateApiKey",
            name=name,
            key_type=number,
            expires_in_days=days,
            user_id=user,
            experiment_id=experiment,
            variation=variation,
            run=run,
        )
    if as_json:
        console().print_json(json.dumps(made))
        return
    until = made["api_key"]["expires_at"] or "it is revoked"
    error_console().print(
        f"{made['api_key']['id']}, good until {until}. Keep the key: it is told this once.",
        markup=False,
    )
    console().print(made["key"], markup=False)


def list_keys(
    user: Annotated[str, typer.Option(help="Whose, @handle or id; else yours.")] = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """List API keys, the newest first; the keys themselves are kept nowhere.

    Examples:

    ```
    asgard keys list
    asgard keys list --json | jq -r '.[] | select(.revoked_at == null).id'
    ```
    """
    fields = ("id", "key_type", "shown", "created_at", "expires_at", "revoked_at", "name")
    with opened(server) as identity:
        rows = identity.all("ListApiKeys", "api_keys", user_id=user)
        say_all(rows, fields, "No keys.", as_json)


def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The id of a key: key_...")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """End an API key for good: within a second it is refused everywhere.

    Examples:

    ```
    asgard keys revoke key_0198a7...
    ```
    """
    with opened(server) as identity:
        ended = identity.call("RevokeApiKey", key_id=key)["api_key"]
    done(ended, f"Revoked {key}", as_json)


users.command("me")(plain_errors(me))
users.command("create")(plain_errors(create_user))
users.command("list")(plain_errors(list_users))
users.command("show")(plain_errors(show_user))
users.command("delete")(plain_errors(delete_user))
keys.command("create")(plain_errors(create_key))
keys.command("list")(plain_errors(list_keys))
keys.command("revoke")(plain_errors(revoke_key))
