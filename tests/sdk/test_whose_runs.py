"""What the SDK says and shows of whose a run is, at each home."""

from __future__ import annotations

import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import InvalidFieldError

from tests.sdk.homes import Home


def test_a_run_says_whose_it_is_and_may_be_given_away(storage: AsgardStorage, home: Home) -> None:
    plain = storage.create_run("a run")
    assert (plain.owner, plain.organization_id, plain.visibility) == (None, None, None)
    owned = storage.create_run("a run", owner="ann", visibility="public")
    assert storage.load_run(owned.id).owner == "ann"
    storage.update_run(owned, organization_id="org_1", visibility="org_public", note="shared")
    storage.update_run(owned, owner="ben")
    for run in (owned, home.open().load_run(owned.id)):
        assert (run.owner, run.organization_id, run.visibility) == ("ben", "org_1", "org_public")
        assert run.note == "shared"
    saved = storage.save_simulation_result("b", "any", {"a": 1}, owner="ann", visibility="private")
    assert (saved.owner, saved.visibility) == ("ann", "private")


def test_a_visibility_that_nobody_knows_is_refused(storage: AsgardStorage) -> None:
    run = storage.create_run("a run", owner="ann")
    with pytest.raises(InvalidFieldError, match="visibility"):
        storage.update_run(run, visibility="secret")
