"""Splits what autogenerate writes into revisions that don't block the traffic on tables in use.

One of them, a transaction, has everything that takes a moment. What reads or builds for long is a
revision of its own: what goes comes before it, what is made after it.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from alembic.operations import MigrateOperation, ops
from alembic.util import rev_id

from app.migrate import drift
from app.migrate.calls import imports, making
from app.migrate.compare import Comparison
from app.migrate.completion import leaves, substitute
from app.migrate.drift import as_operation
from app.migrate.dump import Name
from app.migrate.guide import guide
from app.migrate.moves import calls_for, kept_names
from app.migrate.new_columns import add_without_values
from app.migrate.steps import Step, dropping_step, making_step
from app.migrate.touched import Key, keys, touched
from app.migrate.wording import describe_change, summarize


def split_revision(
    script: ops.MigrationScript, comparison: Comparison, rewriting: list[MigrateOperation]
) -> list[ops.MigrationScript]:
    """The revisions that do together what one would do.

    Args:
        rewriting: The operations that have PostgreSQL write a whole table anew.
    """
    steps = plan_steps(script, comparison, rewriting)
    scripts: list[ops.MigrationScript] = []
    for step in steps:
        scripts.append(
            ops.MigrationScript(
                script.rev_id if not scripts else rev_id(),
                ops.UpgradeOps(step.upgrade),
                ops.DowngradeOps(step.downgrade),
                message=step.message,
                imports=imports([*step.upgrade, *step.downgrade]),
                head=script.head if not scripts else scripts[-1].rev_id,
                splice=script.splice if not scripts else None,
                branch_label=script.branch_label if not scripts else None,
                version_path=script.version_path,
                depends_on=script.depends_on if not scripts else None,
            )
        )
    return scripts


def plan_steps(
    script: ops.MigrationScript, comparison: Comparison, rewriting: list[MigrateOperation]
) -> list[Step]:
    """What to write, in order."""
    upgrade, downgrade = script.upgrade_ops, script.downgrade_ops
    assert upgrade is not None
    assert downgrade is not None
    known = keys([*comparison.start, *comparison.models])
    names = {name: None for op in leaves(upgrade) if (name := touched(op, known))}
    made, gone = calls_for(names, comparison)
    done = {f"change {name}" for name in [*made, *gone]}
    done |= _take_out(upgrade, known, {*made, *gone})
    done |= _take_out(downgrade, known, {*made, *gone})
    kept = kept_names(made, gone, comparison)
    coming = [making_step(name, call) for name, call in made.items()]
    going = [dropping_step(name, call) for name, call in gone.items() if name not in kept]
    going.sort(key=lambda step: step.rank)
    if (going or kept) and comparison.upgrade_first:
        # In a revision before those that use the new names.
        first, last = comparison.upgrade_first, comparison.downgrade_last
        del upgrade.ops[: len(first)], downgrade.ops[-len(last) :]
        renames = [change for change in comparison.changes if "rename" in change]
        done |= set(renames)
        going.insert(0, Step(summarize(renames), _guided(first, rewriting), last))
    for name, old in kept.items():
        upgrade.ops.insert(0, as_operation(drift.rename(name, old)))
        downgrade.ops.append(as_operation(drift.rename(old, name)))
    for op in list(leaves(upgrade)):
        if isinstance(op, ops.AddColumnOp):
            coming += add_without_values(upgrade, op, comparison, known, op in rewriting)
    coming.sort(key=lambda step: step.rank)
    for name, old in kept.items():
        if call := making(old, comparison.start[name]):
            coming.append(dropping_step(old, call))
    main = []
    if any(leaves(upgrade)) or any(leaves(downgrade)):
        every = [*comparison.changes, *(f"change {missed.name}" for missed in comparison.missed)]
        rest = [change for change in every if change not in done]
        rest += [f"rename {name}" for name in kept]
        operations = _guided(leaves(upgrade), rewriting)
        main.append(Step(summarize(rest or every), operations, downgrade.ops))
    steps = [*going, *main, *coming]
    if script.message:
        named = main[0] if main else steps[0]
        steps[steps.index(named)] = replace(named, message=script.message)
    return steps


def _guided(
    operations: Iterable[MigrateOperation], rewriting: list[MigrateOperation]
) -> list[MigrateOperation]:
    """Each operation after the comment that it needs."""
    both = [(guide(op, op in rewriting), op) for op in operations]
    return [op for pair in both for op in pair if op]


def _take_out(
    container: ops.OpContainer, known: dict[Key, Name], names: Collection[Name]
) -> set[str]:
    """Removes what is done elsewhere; returns what the removed operations are called."""
    removed = set()
    for op in list(leaves(container)):
        if touched(op, known) not in names:
            continue
        if isinstance(op, ops.AlterColumnOp):
            op.modify_nullable, op.existing_nullable = None, True
            if op.has_changes():
                continue
        removed.add(describe_change(op))
        substitute(container, op)
    return removed
