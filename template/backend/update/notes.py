"""Reads CHANGELOG.md and UPGRADING.md of the template: sections under `## <version>`."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

UNRELEASED = "Unreleased"
HEAD = re.compile(r"\A```toml\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """The sections of a file by their titles, in order."""
    _, *parts = re.split(r"^## +", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    pairs = [part.partition("\n") for part in parts]
    return {title.strip(): body.strip() for title, _, body in pairs}


def new_sections(before: str, after: str) -> dict[str, str]:
    """The sections that only the newer file has."""
    old = sections(before)
    return {
        title: body
        for title, body in sections(after).items()
        if title not in old or (title == UNRELEASED and body != old[title])
    }


def applies(body: str, answers: Mapping[str, Any]) -> bool:
    """Whether an upgrading note is for a project with these answers: what its head's `when` says."""
    wanted = _head(body).get("when", {})
    return all(answers.get(question) == answer for question, answer in wanted.items())


def without_head(body: str) -> str:
    """An upgrading note as people read it, with the backfill that its head names."""
    code = _head(body).get("backfill", "")
    text = HEAD.sub("", body).strip()
    return f"{text}\n\nThe backfill to use:\n{code}".strip() if code else text


def _head(body: str) -> dict[str, Any]:
    found = HEAD.match(body + "\n")
    return tomllib.loads(found[1]) if found else {}
