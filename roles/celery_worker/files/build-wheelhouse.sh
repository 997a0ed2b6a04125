#!/bin/sh
# Build every wheel that a release needs, with this host's own Python: build-wheelhouse.sh HOME
# Takes HOME/bundle.tar, leaves HOME/wheelhouse.tar: wheels/ with nothing missing, source/ with the app's plain modules.
set -eu
home=$1
work=$home/build
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work/bundle" "$work/out/wheels" "$work/out/source"
tar -xf "$home/bundle.tar" -C "$work/bundle"
python3 -m venv "$work/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_QUIET=1
cd "$work/bundle"  # paths in requirements.txt are relative to it
"$work/venv/bin/pip" wheel --wheel-dir "$work/out/wheels" --requirement requirements.txt --constraint constraints.txt
# The pip that installs them, so that the other hosts need no package for it.
"$work/venv/bin/pip" wheel --wheel-dir "$work/out" --no-deps pip
[ ! -d source ] || cp -R source/. "$work/out/source/"
tar -cf "$home/wheelhouse.tar.new" -C "$work/out" .
mv "$home/wheelhouse.tar.new" "$home/wheelhouse.tar"
