"""Explains that a server lacks an extension: then nothing is wrong with the revision or the model."""

import re

from sqlalchemy.exc import DBAPIError

NOT_AVAILABLE = re.compile(r'extension "([^"]+)" is not available|/([\w-]+)\.control"')
# Functions by which a schema needs an extension that the embedded server is built without.
UNDEFINED = re.compile(r"function (?:\w+\.)?(\w+)\(.*\) does not exist")
FUNCTIONS = {
    "uuid-ossp": r"uuid_generate_v\w+|uuid_nil|uuid_ns_\w+",
    "pgcrypto": r"crypt|gen_salt|digest|hmac|gen_random_bytes|(de)?armor|(en|de)crypt(_iv)?|pgp_\w+",
}
INSTEAD = {
    "uuid-ossp": "gen_random_uuid(), and from PostgreSQL 18 uuidv7(), need no extension",
    "pgcrypto": "gen_random_uuid(), sha256() and md5() need no extension",
}


def explain_missing_extension(error: BaseException) -> str:
    """What to do about an extension that the server does not have; empty if it is not that."""
    if not isinstance(error, DBAPIError):
        return ""
    said = str(error.orig)
    if found := NOT_AVAILABLE.search(said):
        name = found[1] or found[2]
        problem = f"This PostgreSQL server does not have the extension {name}."
        way = "on a server of your own: install it there"
    elif found := UNDEFINED.search(said):
        name = next((n for n, names in FUNCTIONS.items() if re.fullmatch(names, found[1])), "")
        problem = f"{found[1]}() is part of the extension {name}, which is not in this database."
        way = f"have a revision create it: op.execute('CREATE EXTENSION \"{name}\"')"
    else:
        return ""
    if not name:
        return ""
    ways = [
        *([f"do without: {INSTEAD[name]}"] if name in INSTEAD else []),
        way,
        "in development: another PostgreSQL that has it, named by POSTGRES_BIN_DIR, or "
        "dev_database=docker or external: docs/database.md, Extensions",
    ]
    return "\n  - ".join([f"{problem} Nothing else is wrong. Choose one of:", *ways])
