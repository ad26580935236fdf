# `just` lists these recipes.

copier := "uv tool run --quiet --from 'copier>=9.19.1,<10' --with 'copier-template-extensions>=0.3.4,<1' copier"

# What fails says why; just's own line after that knows nothing of NO_COLOR.
set no-exit-message

# Not empty: no escape codes, please.
no_color := env("NO_COLOR", "")

# A virtual environment that happens to be active is not this repository's.
unexport VIRTUAL_ENV

[private]
default:
    @{{ just_executable() }} --color {{ if no_color == "" { "auto" } else { "never" } }} --justfile {{ quote(justfile()) }} --list --unsorted

# Generate a project beside this repository, start it and take it through one schema change
try folder=(parent_directory(justfile_directory()) / "try-copier-sqlmodel"):
    #!/bin/sh
    set -eu
    just={{ quote(just_executable()) }}
    cd {{ quote(invocation_directory()) }}
    folder={{ quote(folder) }}
    if [ -e "$folder" ] && [ -n "$(ls -A -- "$folder")" ]; then
        echo "$folder exists and is not empty. Name another one: just try FOLDER" >&2
        exit 1
    fi
    bold= plain= color=never
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
        bold=$(printf '\033[1m') plain=$(printf '\033[0m') color=auto
    fi
    say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
    say "1. Generate a project"
    mkdir -p -- "$folder"
    {{ copier }} copy --quiet --trust --defaults --vcs-ref HEAD \
        --data project_name="$(basename -- "$folder")" {{ quote(justfile_directory()) }} "$folder"
    cd -- "$folder"
    git init --quiet -b main
    git add --all
    git -c user.name=try -c user.email=try@example.org commit --quiet --message "Start"
    say "2. Start its database: just start"
    "$just" start
    "$just" db-upgrade
    say "3. Add a model: just db-model Widget"
    "$just" db-model Widget
    say "4. Write a migration: just db-migrate"
    "$just" db-migrate
    say "5. Apply it: just db-upgrade"
    "$just" db-upgrade
    say "6. The result"
    git add --intent-to-add .
    git --no-pager -c color.ui="$color" diff --stat
    "$just" db-shell -P pager=off -c '\d widget'
    say "The project is in $folder, its database is running. Go on with:"
    printf '\n    cd %s\n' "$folder"
    printf '    just            # the list of commands; without just installed: uvx --from rust-just just\n'
    printf '    just dev        # the API, described at http://127.0.0.1:8000/docs\n'
    printf '    just stop       # stop the database\n\n'

# Create or refresh the virtual environment
setup:
    @uv venv --quiet --allow-existing
    @uv pip sync --quiet --compile-bytecode --require-hashes requirements.txt

# Run the test suite
test *arguments: setup
    @.venv/bin/pytest -n 2 --dist worksteal -m "not faults" {{ arguments }}

# Run the long fault injections
test-faults *arguments: setup
    @.venv/bin/pytest -n 2 --dist worksteal -m faults {{ arguments }}

# Measure beside the usual ways, into benchmarks/results: all, or by name; --quick is a small run
bench *arguments: setup
    @uv run --quiet --no-project --with 'matplotlib>=3.10,<4' python -m benchmarks.run {{ arguments }}

# Write docs/schema-changes.md of the generated project from what the tests see
document-changes: setup
    @DOCUMENT_CHANGES=1 .venv/bin/pytest -q -m "not faults" tests/test_changes.py

# Check format, style and types
lint: setup
    @.venv/bin/ruff format --check .
    @.venv/bin/ruff check .
    @.venv/bin/mypy {{ if no_color == "" { "" } else { "--no-color-output" } }}

# Format the code
fmt: setup
    @.venv/bin/ruff check --quiet --fix .
    @.venv/bin/ruff format .

# Pin the newest versions that pyproject.toml allows
lock:
    @uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url --group dev pyproject.toml --output-file requirements.txt
