#!/usr/bin/env bash
# Makes a real image for the tests: a Debian (or Ubuntu) root with bash, python3, node and git, from the packages of this
# host's own release, as an OCI layout of umoci: debian-image.sh LAYOUT
set -euo pipefail
layout=$1
. /etc/os-release

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mmdebstrap --quiet --variant=minbase --include=python3,nodejs,git --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' "$VERSION_CODENAME" "$scratch/root.tar"
umoci init --layout "$scratch/layout"
umoci new --image "$scratch/layout:latest"
umoci raw add-layer --image "$scratch/layout:latest" "$scratch/root.tar"
umoci config --image "$scratch/layout:latest" --config.user games --config.workingdir /srv/made \
    --config.env LANG=C.UTF-8 --config.env FROM=image --config.entrypoint env --config.cmd python3 --config.cmd -c --config.cmd 'print("hello")'
mkdir -p "$(dirname "$layout")"
rm -rf "$layout"
# What was begun and not finished never has the name.
cp -r "$scratch/layout" "$layout.part"
mv "$layout.part" "$layout"
