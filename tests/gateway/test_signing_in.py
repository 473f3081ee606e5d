"""People who sign in at an OIDC provider are users, members of what its claims say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.engines.oidc import CLIENT, Provider
from tests.gateway.monitors import Served, a_monitor

ALICE = {
    "sub": "idp|alice",
    "preferred_username": "Alice.A",
    "name": "Alice A.",
    "email": "alice@example.org",
    "groups": ["acme", "Beta Lab"],
    "crews": ["acme/ml-team"],
}


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider(ALICE, {"sub": "idp|bob", "preferred_username": "alice.a"})
    made.start()
    yield made
    made.remove()


@pytest_asyncio.fixture
async def served(provider: Provider, tmp_path: Path) -> AsyncIterator[Served]:
    given = {
        "auth": "required",
        "oidc_issuer": provider.issuer,
        "oidc_audience": (CLIENT,),
        "oidc_organizations_claim": "groups",
        "oidc_teams_claim": "crews",
        "admins": ("idp|alice",),
    }
    async with a_monitor(tmp_path / "storage", **given) as monitor:
        yield monitor


def shown(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def me(served: Served, token: str) -> Any:
    return await served.client.get("/v1/me", headers=shown(token))


async def test_who_signs_in_for_the_first_time_is_a_user_with_memberships(
    served: Served, provider: Provider
) -> None:
    token = provider.token("idp|alice")
    answer = (await me(served, token)).json()
    assert (answer["id"], answer["handle"]) == ("idp|alice", "@alice.a")
    assert (answer["kind"], answer["admin"]) == ("user", True)
    scopes = (await served.client.get("/v1/me/scopes", headers=shown(token))).json()["scopes"]
    assert [(s["kind"], s["slug"], s["name"]) for s in scopes] == [
        ("user", "alice.a", "Alice A."),
        ("organization", "acme", "acme"),
        ("organization", "beta-lab", "Beta Lab"),
        ("team", "ml-team", "ml-team"),
    ]
    team = await served.client.get("/v1/teams/t%2Fml-team", headers=shown(token))
    assert team.json()["organization_id"] == scopes[1]["id"]


@pytest.mark.parametrize("team", ["Beta Lab/ml-team", "ml-team", "nowhere/ml-team"])
async def test_a_team_of_one_organisation_is_not_taken_for_one_of_another(
    served: Served, provider: Provider, team: str
) -> None:
    alice = shown(provider.token("idp|alice"))  # acme/ml-team is there
    assert (await served.client.get("/v1/me", headers=alice)).status_code == 200
    provider.now_says("idp|bob", groups=["Beta Lab"], crews=[team, "nowhere/crew"])
    bob = shown(provider.token("idp|bob"))
    scopes = (await served.client.get("/v1/me/scopes", headers=bob)).json()["scopes"]
    assert [(s["kind"], s["slug"]) for s in scopes[1:]] == [("organization", "beta-lab")]
    # Nor is one made outside of the organisation that it is said to be a part of.
    made = await served.client.get("/v1/teams/t%2Fcrew", headers=alice)
    assert made.status_code == 404


async def test_a_team_may_be_named_alone_to_a_member_of_its_organisation(
    served: Served, provider: Provider
) -> None:
    assert (await me(served, provider.token("idp|alice"))).status_code == 200
    provider.now_says("idp|bob", groups=["acme"], crews=["ml-team"])
    bob = shown(provider.token("idp|bob"))
    scopes = (await served.client.get("/v1/me/scopes", headers=bob)).json()["scopes"]
    assert [s["slug"] for s in scopes[1:]] == ["acme", "ml-team"]


async def test_a_handle_that_is_taken_gets_a_number(served: Served, provider: Provider) -> None:
    assert (await me(served, provider.token("idp|alice"))).json()["handle"] == "@alice.a"
    assert (await me(served, provider.token("idp|bob"))).json()["handle"] == "@alice.a-2"


async def test_what_the_provider_says_otherwise_later_is_otherwise(
    served: Served, provider: Provider
) -> None:
    alice = shown(provider.token("idp|alice"))
    # A membership that was given here stays, whatever the provider says.
    await served.client.post("/v1/organizations", json={"slug": "here"}, headers=alice)
    provider.now_says(
        "idp|alice", preferred_username="other", name="Alice B.", groups=["beta lab"], crews=[]
    )
    again = shown(provider.token("idp|alice"))
    scopes = (await served.client.get("/v1/me/scopes", headers=again)).json()["scopes"]
    assert [(s["kind"], s["slug"]) for s in scopes] == [
        ("user", "alice.a"),
        ("organization", "beta-lab"),
        ("organization", "here"),
    ]
    assert scopes[0]["name"] == "Alice B."
    # A token that says nothing of groups takes none away.
    provider.now_says("idp|alice", name="Alice B.")
    silent = shown(provider.token("idp|alice"))
    scopes = (await served.client.get("/v1/me/scopes", headers=silent)).json()["scopes"]
    assert len(scopes) == 3


async def test_a_token_for_another_program_is_refused(served: Served, provider: Provider) -> None:
    refused = await me(served, provider.token("idp|alice", client="another"))
    assert (refused.status_code, refused.json()["reason"]) == (401, "UNAUTHENTICATED")


async def test_tokens_signed_by_new_keys_are_taken_and_those_by_old_ones_are_not(
    served: Served, provider: Provider
) -> None:
    old = provider.token("idp|alice")
    assert (await me(served, old)).status_code == 200
    provider.stop()
    provider.start()
    new = provider.token("idp|alice")
    async with asyncio.timeout(30):
        # Keys are asked for again two seconds after the last time, not for every token.
        while (await me(served, new)).status_code != 200:  # noqa: ASYNC110 - the clock's business
            await asyncio.sleep(0.2)
    assert (await me(served, old)).status_code == 401


async def test_who_is_shut_out_does_not_come_back_with_a_token(
    served: Served, provider: Provider
) -> None:
    alice, bob = (provider.token(f"idp|{name}") for name in ("alice", "bob"))
    assert (await me(served, bob)).status_code == 200
    gone = await served.client.delete("/v1/users/idp%7Cbob", headers=shown(alice))
    assert gone.status_code == 200, gone.text
    for token in (bob, provider.token("idp|bob")):
        assert (await me(served, token)).status_code == 401


async def test_an_expired_token_says_that_it_has_expired(tmp_path: Path) -> None:
    provider = Provider(ALICE, seconds=1)
    provider.start()
    try:
        given = {
            "auth": "required",
            "oidc_issuer": provider.issuer,
            "oidc_audience": (CLIENT,),
            "oidc_leeway_seconds": 0,
        }
        async with a_monitor(tmp_path / "storage", **given) as served:
            token = provider.token("idp|alice")
            async with asyncio.timeout(30):
                while (  # noqa: ASYNC110 - the clock's business
                    answer := await me(served, token)
                ).status_code == 200:
                    await asyncio.sleep(0.1)
    finally:
        provider.remove()
    assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_EXPIRED")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
