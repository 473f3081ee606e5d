"""/api/updates where everybody says who they are: each is told of what they may read, no more."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asgard_server.gateway.app import GatewayOptions

from tests.gateway.houses import House, Person, a_house, a_house_of
from tests.gateway.monitors import PATIENCE_SECONDS, Browser, a_browser, a_monitor


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "storage") as served:
        yield served


def told(kind: str, id: str, how: str = "update") -> dict[str, str]:
    return {"type": how, "object_type": kind, "object_id": id}


async def told_until(browser: Browser, last: dict[str, str]) -> list[dict[str, Any]]:
    """What is told up to an event, once for what follows itself."""
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1] != last:
        event = await browser.event()
        if not seen or seen[-1] != event:
            seen.append(event)
    return seen


async def fence(person: Person) -> dict[str, str]:
    """Something that everybody may read; what is told before it has been told."""
    return told("asset", await person.asset(visibility="public"))


async def test_an_asset_is_told_to_who_may_read_it_and_its_loss_to_who_could(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with alice.listen() as hers, bob.listen() as his, house.root.listen() as roots:
        asset = await alice.asset()
        assert await hers.event() == told("asset", asset)
        await alice.grant(asset, "@bob")
        assert await his.event() == told("asset", asset)
        await alice.ask("PATCH", f"/v1/assets/{asset}", {"metadata": {"is": "shown"}})
        assert await his.event() == told("asset", asset)
        await alice.revoke(asset, "@bob")
        assert await his.event() == told("asset", asset, "delete")
        await alice.ask("PATCH", f"/v1/assets/{asset}", {"metadata": {"is": "hidden"}})
        await alice.ask("DELETE", f"/v1/assets/{asset}")
        last = await fence(alice)
        assert await his.event() == last, "of what he may not read he hears nothing"
        assert await roots.event() == last, "who administers identity sees nothing private by it"
        seen = await told_until(hers, last)
        assert told("asset", asset, "delete") in seen
        assert {each["object_id"] for each in seen} == {asset, last["object_id"]}


async def test_an_experiment_is_told_as_one_to_who_may_read_it(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with alice.listen() as hers, bob.listen() as his:
        experiment = await alice.experiment()
        assert await hers.event() == told("experiment", experiment)
        last = await fence(alice)
        assert await his.event() == last


async def test_a_job_is_told_to_its_owner_alone_also_that_it_is_gone(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with alice.listen() as hers, bob.listen() as his, house.root.listen() as roots:
        job = await alice.job()
        assert await hers.event() == told("job", job)
        await alice.ask("DELETE", f"/api/jobs/{job}")
        assert await hers.event() == told("job", job, "delete")
        other = await bob.job()
        assert await his.event() == told("job", other)
        last = await fence(alice)
        assert await roots.event() == last
        assert await told_until(hers, last) == [last]


async def test_jobs_are_watched_by_their_owners_alone(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    mine, other = await alice.job(), await bob.job()
    seen: list[Any] = []
    async with house.served.client.stream(
        "GET",
        "/v1/jobs:watch?start=snapshot",
        headers={"authorization": f"Bearer {alice.key}"},
    ) as answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    seen.append(line)
                if "snapshot_end" in line:
                    await bob.ask("DELETE", f"/api/jobs/{other}")
                    await alice.ask("DELETE", f"/api/jobs/{mine}")
                if '"delete"' in line:
                    break
    text = "".join(seen)
    assert f'"job_id":{mine}' in text
    assert f'"job_id":{other}' not in text
    assert "sub-bob" not in text
    assert '"readers_after":["' not in text, "readers are told to services alone"


async def test_on_the_wire_nobody_is_told_who_reads_what(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    text = ""
    async with house.served.client.stream(
        "GET", "/api/updates", headers={"authorization": f"Bearer {bob.key}"}
    ) as answer:
        chunks = answer.aiter_text()
        text += await anext(chunks)
        asset = await alice.asset()
        await alice.grant(asset, "@bob")
        await alice.job()
        last = (await fence(alice))["object_id"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while last not in text:
                text += await anext(chunks)
    assert asset in text
    assert "alice" not in text
    assert "sub-" not in text
    assert "readers" not in text


async def test_who_joins_an_organisation_begins_anew_and_is_told_what_it_may_read(
    house: House,
) -> None:
    alice, bob, root = house["alice"], house["bob"], house.root
    await root.ask("POST", "/v1/organizations", {"slug": "acme"})
    members = "/v1/organizations/o%2Facme/members"
    await root.ask("PUT", f"{members}/@alice", {"role": "member"})
    asset = await alice.asset()
    await alice.ask("POST", f"/v1/assets/{asset}/share", {"scope_id": "o/acme"})
    async with bob.listen() as his:
        last = await fence(alice)
        assert await his.event() == last
        await root.ask("PUT", f"{members}/@bob", {"role": "member"})
        began = time.monotonic()
        assert await his.event() == {"type": "reset"}
        # A second, and what a loaded machine takes for it.
        assert time.monotonic() - began < 5
        with pytest.raises(EOFError):
            await his.event()
        last_id = his.last_id
    async with bob.listen(last_id) as his:
        assert await his.event() == {"type": "reset"}, "what it has missed is more than it was told"
        await alice.ask("PATCH", f"/v1/assets/{asset}", {"metadata": {"is": "ours"}})
        assert await his.event() == told("asset", asset)
        await root.ask("DELETE", f"{members}/@bob")
        assert await his.event() == {"type": "reset"}
        with pytest.raises(EOFError):
            await his.event()


async def test_a_stream_ends_with_a_reset_when_its_key_is_revoked(house: House) -> None:
    bob = house["bob"]
    async with bob.listen() as his:
        (key,) = (await bob.ask("GET", "/v1/api-keys"))["api_keys"]
        await bob.ask("DELETE", f"/v1/api-keys/{key['id']}")
        began = time.monotonic()
        assert await his.event() == {"type": "reset"}
        assert time.monotonic() - began < 5
        with pytest.raises(EOFError):
            await his.event()
    answer = await house.served.client.get(
        "/api/updates", headers={"authorization": f"Bearer {bob.key}"}
    )
    assert answer.status_code == 401


async def test_who_comes_back_is_told_what_it_missed_and_may_read(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with bob.listen() as his:
        last_id = his.last_id
    hidden, shown = await alice.asset(), await alice.asset()
    await alice.grant(shown, "@bob")
    await alice.job()
    job = await bob.job()
    last = await fence(alice)
    expected = [told("asset", shown), told("job", job), last]
    async with bob.listen(last_id) as his:
        # Two logs have no order between them.
        seen = await his.events(3)
        assert sorted(seen, key=str) == sorted(expected, key=str)
        assert hidden not in str(seen)
        live = await bob.job(goal="live")
        assert await his.event() == told("job", live)


async def test_over_a_restart_a_watch_catches_up_with_what_the_caller_may_read(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    async with a_house(storage) as house:
        alice, bob = house["alice"], house["bob"]
        async with bob.listen() as his:
            last_id = his.last_id
        hidden, lost = await alice.asset(), await alice.asset()
        await alice.grant(lost, "@bob")
        await alice.revoke(lost, "@bob")
        job, others = await bob.job(), await alice.job()
        keys = {name: person.key for name, person in house.people.items()}
    async with a_house_of(storage, keys) as house:
        alice, bob = house["alice"], house["bob"]
        async with bob.listen(last_id) as his:
            last = await fence(alice)
            seen = await told_until(his, last)
            last_id = his.last_id
        assert sorted(seen, key=str) == sorted(
            [told("asset", lost), told("asset", lost, "delete"), told("job", job), last], key=str
        )
        assert not {hidden, others} & {each["object_id"] for each in seen}
        async with bob.listen(last_id) as his:
            last = await fence(alice)
            assert await his.event() == last, "nothing is told twice"


async def test_an_id_of_before_assets_were_followed_is_of_use_to_its_holder(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with bob.listen() as his:
        runs, jobs, _ = his.last_id.split(".")
    others, job = await alice.job(), await bob.job()
    run = (await bob.ask("POST", "/v1/runs", {"name": "x", "visibility": "public"}))["id"]
    for last_id, expected in (
        (runs, [told("run", run)]),
        (f"{runs}.{jobs}", [told("run", run), told("job", job)]),
    ):
        async with bob.listen(last_id) as his:
            last = await fence(alice)
            seen = await told_until(his, last)
        assert {"type": "reset"} not in seen
        assert all(each in seen for each in expected)
        assert told("job", others) not in seen


async def test_an_id_of_somebody_else_is_a_reset(house: House) -> None:
    alice, bob = house["alice"], house["bob"]
    async with alice.listen() as hers:
        last_id = hers.last_id
    for id in (last_id, last_id.partition("~")[0]):
        async with bob.listen(id) as his:
            assert await his.event() == {"type": "reset"}


async def test_a_stream_moves_on_behind_what_is_not_for_its_ears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "asgard_server.processes.gateway.GatewayOptions"
    monkeypatch.setattr(name, partial(GatewayOptions, keep_alive_seconds=0.2))
    async with a_house(tmp_path / "storage") as house:
        alice, bob = house["alice"], house["bob"]
        async with bob.listen() as his, alice.listen() as hers:
            began = his.last_id
            asset = await alice.asset()
            assert await hers.event() == told("asset", asset)
            reading = asyncio.create_task(his.event())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while his.last_id == began:  # noqa: ASYNC110 - what the stream says in silence
                    await asyncio.sleep(0.02)
            assert not reading.done(), "an id alone is no event"
            moved = his.last_id
            last = await fence(alice)
            assert await reading == last
        async with bob.listen(moved) as his:
            assert await his.event() == last


async def test_a_known_key_is_its_user_also_where_nobody_has_to_say_who_they_are(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    async with a_house(storage) as house:
        keys = {name: person.key for name, person in house.people.items()}
    async with a_monitor(storage) as served:
        alice, bob = (Person(name, keys[name], served.client) for name in ("alice", "bob"))
        async with a_browser(served.client) as local, bob.listen() as his:
            asset, job = await alice.asset(), await alice.job()
            seen = await local.events(2)
            assert sorted(seen, key=str) == sorted(
                [told("asset", asset), told("job", job)], key=str
            ), "the local user hears of everything"
            assert "~" not in local.last_id
            last = await fence(alice)
            assert await his.event() == last
            last_id = local.last_id
        async with bob.listen(last_id) as his:
            assert await his.event() == {"type": "reset"}


async def test_of_many_callers_each_is_told_exactly_what_it_may_read(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    names = [f"p{number}" for number in range(12)]
    async with a_house(tmp_path / "storage", names) as house:
        expected: dict[str, list[dict[str, str]]] = {name: [] for name in names}
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        ready = asyncio.Semaphore(0)
        # It may be told before it is answered: so it is known before.
        end = told("asset", "the-end")

        async def listen(name: str) -> None:
            """Come and go until the last event."""
            ears = random.Random(f"{seed} {name}")
            last_id = ""
            while end not in seen[name]:
                async with house[name].listen(last_id) as browser:
                    ready.release()
                    for _ in range(ears.randrange(1, 9)):
                        seen[name].append(await browser.event())
                        last_id = browser.last_id
                        if seen[name][-1] == end:
                            break

        listening = [asyncio.create_task(listen(name)) for name in names]
        for _ in names:
            await ready.acquire()
        for _ in range(60):
            owner = chance.choice(names)
            asset = await house[owner].asset()
            readers = set(chance.sample(names, chance.randrange(4))) - {owner}
            expected[owner].append(told("asset", asset))
            for reader in sorted(readers):
                await house[owner].grant(asset, f"@{reader}")
                for name in {owner, reader} | {n for n in readers if n < reader}:
                    expected[name].append(told("asset", asset))
        await house[names[0]].asset(id="the-end", visibility="public")
        async with asyncio.timeout(60):
            await asyncio.gather(*listening)
    for name in names:
        assert seen[name] == [*expected[name], end], name
