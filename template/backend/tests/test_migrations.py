import pytest

from app.core.config import Settings
from app.migrate.check import CHECKS, run_checks
from app.migrate.report import Outcome


@pytest.fixture(scope="module")
def outcomes(server: Settings) -> dict[str, Outcome]:
    """What `just db-check` finds, on the server of the tests."""
    return {result.name: result.outcome for result in run_checks()}


@pytest.mark.parametrize("name", CHECKS)
def test_the_check_finds_nothing(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].outcome != "failed", outcomes[name].findings
