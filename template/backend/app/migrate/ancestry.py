"""Ways from revision to revision, by what each one follows. Imports next to nothing."""

from collections.abc import Collection, Iterable, Mapping

Parents = Mapping[str, tuple[str, ...]]


def reachable(heads: Iterable[str], parents: Parents) -> list[str]:
    """The revisions from the heads down to the base, also those of which nothing else is known."""
    found: dict[str, None] = {}
    waiting = list(heads)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting.extend(parents.get(name, ()))
    return list(found)


def newest(revisions: Collection[str], parents: Parents) -> list[str]:
    """Those that no other one of them follows."""
    followed = {parent for name in revisions for parent in parents.get(name, ())}
    return [name for name in revisions if name not in followed]


def revisions_ahead(
    heads: Collection[str], parents: Parents, own: Collection[str], latest: str
) -> list[str]:
    """The revisions that a newer release applied, newest first; none if it is not like that.

    All of this release's are applied then, and the database is at some that follow these. Where
    one has no file that a file follows, or that latest_revision.txt names, its file is missing.

    Args:
        heads: What the database is at.
        own: The revisions that have files, which are as they were applied.
        latest: What latest_revision.txt says.
    """
    mine = newest(own, parents)
    before = set(reachable(mine, parents))
    applied = reachable(heads, parents)
    ahead = [name for name in applied if name not in before]
    follows = all(before.intersection(reachable([head], parents)) for head in heads)
    is_ahead = own and set(mine) <= set(applied) and follows and not before.intersection(heads)
    return ahead if is_ahead and latest not in ahead else []


def describe_ahead(ahead: Collection[str], own_newest: str) -> str:
    """Where such a database is, in a sentence."""
    one = len(ahead) == 1
    return (
        f"The database is ahead by {len(ahead)} revision{'' if one else 's'}: {', '.join(ahead)}. "
        f"A newer release applied {'it' if one else 'them'}; all that this one has are applied, "
        f"{own_newest} the newest."
    )
