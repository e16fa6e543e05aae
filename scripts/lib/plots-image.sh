#!/usr/bin/env bash
# Lays matplotlib and IPython over the image that debian-image.sh has made: plots-image.sh LAYOUT NEW-LAYOUT
set -euo pipefail
from=$1
layout=$2

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The image has the Python of this host's own release.
/usr/bin/python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --only-binary :all: --target "$scratch/root/opt/site" \
    matplotlib==3.10.0 ipython==8.31.0
find "$scratch/root/opt/site" -type d -name tests -prune -exec rm -rf {} +
# What `umoci insert` writes lacks the end of an archive.
tar -C "$scratch/root" --owner 0 --group 0 --numeric-owner -cf "$scratch/site.tar" opt
cp -r "$from" "$scratch/layout"
umoci raw add-layer --image "$scratch/layout:latest" "$scratch/site.tar"
umoci config --image "$scratch/layout:latest" --config.env PYTHONPATH=/opt/site --config.env MPLCONFIGDIR=/tmp/matplotlib
rm -rf "$layout"
# What was begun and not finished never has the name.
cp -r "$scratch/layout" "$layout.part"
mv "$layout.part" "$layout"
