"""The initial revision equals the models, for every combination of answers that changes these."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import yaml
from jinja2 import Environment
from jinja2.meta import find_undeclared_variables

from tests.conftest import REPOSITORY, Project

BACKEND = REPOSITORY / "template" / "backend"


def questions() -> dict[str, list[Any]]:
    """Those with a known set of answers that a name or a file of models or revisions asks for."""
    texts = [
        f"{path.relative_to(BACKEND)}\n{path.read_text() if path.suffix == '.jinja' else ''}"
        for folder in ("app/models", "app/db", "alembic")
        for path in (BACKEND / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    environment = Environment(autoescape=True)
    names = {name for text in texts for name in find_undeclared_variables(environment.parse(text))}
    asked = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    found = {}
    for name in sorted(names & asked.keys()):
        choices = asked[name].get("choices")
        if asked[name]["type"] == "bool":
            found[name] = [True, False]
        elif choices:
            found[name] = list(choices.values() if isinstance(choices, dict) else choices)
    return found


QUESTIONS = questions()
COMBINATIONS = [
    dict(zip(QUESTIONS, values, strict=True)) for values in product(*QUESTIONS.values())
]


def test_the_questions_that_change_models_are_found() -> None:
    assert QUESTIONS["llm_settings"] == [True, False]


@pytest.mark.parametrize("answers", COMBINATIONS, ids=str)
def test_the_initial_revision_equals_the_models(
    generate: Callable[..., Project], answers: dict[str, Any]
) -> None:
    project = generate(**answers)
    project.just("db-upgrade").ok()
    assert "No new upgrade operations detected" in project.alembic("check").ok().text
    checked = json.loads(project.just("db-check", "--json").ok().out)
    outcomes = {check["name"]: check["outcome"] for check in checked["checks"]}
    # The judge, and the way down and up.
    assert outcomes["drift"] == outcomes["replay"] == outcomes["models"] == "passed"
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
    tables = {name for (name,) in rows}
    assert {"alembic_version", "migration_ledger", "roles", "user_roles", "users"} <= tables
    assert ("llm_settings" in tables) is answers["llm_settings"]
    project.just("db-downgrade", "base").ok()
    project.just("db-upgrade").ok()
