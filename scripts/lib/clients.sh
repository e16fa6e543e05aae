#!/usr/bin/env bash
# Installs the official OpenSandbox clients that the tests use, in the versions that tests/clients names: clients.sh DIR
set -euo pipefail
dir=$1
wanted=$(cd "$(dirname "$0")/../../tests/clients" && pwd)

rm -rf "$dir.part"
mkdir -p "$dir.part"
cp "$wanted/package.json" "$dir.part"
# The SDK wants a node that a Debian of two years ago does not have; npm has it as a package.
node=()
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
[ "${major:-0}" -ge 20 ] || node=(node@22)
(cd "$dir.part" && npm install --silent --no-audit --no-fund --no-package-lock "${node[@]}")
# A virtual environment does not survive a change of its name.
rm -rf "$dir"
mv "$dir.part" "$dir"
/usr/bin/python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted/requirements.txt"
touch "$dir/complete"
