"""What makes a revision unsafe on a database that is in use, and what to write instead.

The names are squawk's (https://squawkhq.com/docs/rules) but for those below OWN. Times were measured
per million rows on two cores. Squawk's other rules are off:

- style: ban-char-field, prefer-*, require-enum-value-ordering, require-table-schema,
  identifier-too-long
- done by whatever runs the revision: require-lock-timeout, require-statement-timeout,
  require-timeout-settings, transaction-nesting, ban-uncommitted-transaction
- refused by PostgreSQL itself: ban-concurrent-index-creation-in-transaction
- stop nothing that runs: ban-drop-not-null, ban-drop-default, ban-drop-constraint and what drops or
  changes views, functions, types, sequences, domains, triggers, policies and rights, which is
  usually made anew in the same transaction
- rewrites that the database itself tells of: ban-alter-identity, ban-alter-generated-expression

The functions that the texts name are in app.migrate.operations and app.migrate.backfill.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """In both texts {table}, {name} (of a column or index) and {sql} are filled in.

    {call} is the arguments of the safe form: the name, the table and the definition. In code, {plain}
    and {plain_name} are without the schema, which {schema} adds as the last argument. {old} and {new}
    are a column's types, {select} is the query that counts the rows with values at risk.
    """

    happens: str
    instead: str


BACKFILL = "fill it with backfill(…) in a revision of its own"
EXPAND = (
    "add the new one beside it, write both and "
    + BACKFILL
    + ", read the new one, drop the old one: "
    "each with a release of its own."
)
RENAMED = "code that runs while this is deployed knows only the old name, and its queries fail."

SQUAWK = {
    "adding-field-with-default": Rule(
        "{table}.{name} gets a value of its own in each row: {table} is rewritten, and reads and "
        "writes of it wait, 1 to 4 s per million rows.",
        f"add the column without a default, {BACKFILL}, then set the default.",
    ),
    "adding-foreign-key-constraint": Rule(
        "{sql}: writes to {table} and to the table that it refers to wait until each row is "
        "checked, 0.4 s per million rows.",
        "in a revision of its own\n    create_foreign_key({call})",
    ),
    "adding-not-nullable-field": Rule(
        "{table}.{name} SET NOT NULL: reads and writes of {table} wait until each row is checked, "
        "0.4 s per million rows.",
        'in a revision of its own\n    set_not_null("{plain}", "{name}"{schema})',
    ),
    "adding-required-field": Rule(
        "{table}.{name} is NOT NULL without a default: this fails as soon as {table} has a row.",
        f"give it a server_default; or add it nullable, {BACKFILL}, then set it NOT NULL.",
    ),
    "adding-serial-primary-key-field": Rule(
        "{table} gets a primary key: reads and writes of it wait until its index is built, 1.6 s per "
        "million rows.",
        "build a unique index concurrently, then ADD CONSTRAINT … PRIMARY KEY USING INDEX.",
    ),
    "ban-alter-domain-with-add-constraint": Rule(
        "{sql}: writes to every table with this domain wait until each row is checked.",
        "add it NOT VALID, and VALIDATE it in a transaction of its own.",
    ),
    "ban-drop-column": Rule(
        "{table}.{name} is dropped with its values, and code that still names it fails.",
        "first deploy code without it; then drop it.",
    ),
    "ban-drop-database": Rule(
        "{sql}: everything in it is gone.", "leave that to an administrator."
    ),
    "ban-drop-schema": Rule(
        "{sql}: what is in it is gone, and code that still names it fails.",
        "first deploy code without it; then drop its tables one by one.",
    ),
    "ban-drop-table": Rule(
        "{table} is dropped with its rows, and code that still names it fails.",
        "first deploy code without it; then drop it.",
    ),
    "ban-set-schema": Rule(
        "{table} gets another schema: " + RENAMED,
        "leave it, or put a view in its old place in the same revision.",
    ),
    "changing-column-type": Rule(
        "{table}.{name} gets another type: {table} is rewritten, and reads and writes of it wait, "
        "1 to 2 s per million rows.",
        EXPAND,
    ),
    "constraint-missing-not-valid": Rule(
        "{sql}: reads and writes of {table} wait until each row is checked, 0.1 s per million rows "
        "for a CHECK.",
        "add it NOT VALID, and VALIDATE it in another transaction: create_check_constraint(…), in a "
        "revision of its own, does both.",
    ),
    "disallowed-unique-constraint": Rule(
        "{sql}: reads and writes of {table} wait until its index is built, 1.6 s per million rows.",
        "in a revision of its own\n    create_unique_constraint({call})",
    ),
    "renaming-column": Rule("{table}.{name} is renamed: " + RENAMED, EXPAND),
    "renaming-table": Rule(
        "{table} is renamed: " + RENAMED,
        "leave its name, and give the model another one; or put a view with the old name in its "
        "place in the same revision.",
    ),
    "require-concurrent-index-creation": Rule(
        "{name} on {table} is built while writes to {table} wait, 2 s per million rows.",
        "in a revision of its own\n    create_index_concurrently({call})",
    ),
    "require-concurrent-index-deletion": Rule(
        "{name} is dropped under a lock that reads and writes of its table queue behind.",
        'in a revision of its own\n    drop_index_concurrently("{plain_name}"{schema})',
    ),
    "require-concurrent-partition-detach": Rule(
        "{sql}: reads and writes of {table} wait for it, and it for every query of {table}.",
        "DETACH PARTITION … CONCURRENTLY, in an autocommit_block",
    ),
    "require-concurrent-reindex": Rule(
        "{sql}: writes wait until the index is built, 2 s per million rows, and so do reads of it.",
        "REINDEX … CONCURRENTLY, in an autocommit_block",
    ),
}
LOSES_VALUES = "loses-values"
OWN = {
    "ban-truncate": Rule(
        "{sql}: the rows are gone, and reads and writes of {table} wait until the revision ends.",
        "delete them in batches, or drop the table once no code uses it.",
    ),
    "change-in-batches": Rule(
        "{sql}: it locks every row of {table} until the revision ends, 8 s per million rows.",
        'in a revision of its own, in batches\n    backfill("{plain}", …{schema})',
    ),
    LOSES_VALUES: Rule(
        "{table}.{name} becomes {new}, in which not every value of {old} is the same: such values "
        "are cut, rounded or changed, or the revision fails. This counts the rows:\n    {select}",
        "correct those rows before, in a revision of its own; or " + EXPAND,
    ),
    "rewriting-table": Rule(
        "{sql}: {table} is rewritten, and reads and writes of it wait, 1 to 4 s per million rows.",
        EXPAND,
    ),
}
# The general rule for what these say better.
GENERAL = "constraint-missing-not-valid"
SPECIAL = {
    "adding-foreign-key-constraint",
    "adding-serial-primary-key-field",
    "disallowed-unique-constraint",
}
# What squawk finds wherever a type or default changes, and the database denies if nothing is rewritten.
ONLY_IF_REWRITTEN = {"adding-field-with-default", "changing-column-type"}
# Dropped or renamed under code that runs. If the base branch's models still have it, the rule is
# this one instead; accepting it accepts the other, too.
STILL_IN_USE = "still-in-use"
ROLLOUT = {
    "ban-drop-column",
    "ban-drop-table",
    "ban-set-schema",
    "renaming-column",
    "renaming-table",
}
# How code is deployed that does not use a thing which is still there.
KEEP = {
    "ban-drop-column": "keep it where no code uses it, below the model, and drop it when that is "
    'deployed:\n    SQLModel.metadata.tables["{table}"].append_column(Column("{name}", …))\n'
    "Rows that new code adds lack it: it needs a server_default, or to be nullable.",
    "ban-drop-table": "keep it where no code uses it, in place of the model, and drop it when that "
    'is deployed:\n    Table("{plain}", SQLModel.metadata, Column(…), …{schema})',
}
