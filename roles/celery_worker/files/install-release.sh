#!/bin/sh
# Make a release from HOME/wheelhouse.tar, offline, and put it into use: install-release.sh HOME DIGEST
# A release has a directory of its own, and HOME/venv and HOME/app are links to it: processes that started from the last one
# keep their files. The one before stays as well; older ones are removed, but for those that a process still runs from.
set -eu
home=$1
digest=$2
release=$home/releases/$digest
if [ ! -e "$release/complete" ]; then
    rm -rf "$release"
    mkdir -p "$release"
    tar -xf "$home/wheelhouse.tar" -C "$release"
    python3 -m venv --without-pip "$release/venv"
    pip=$(echo "$release"/pip-*.whl)
    "$release/venv/bin/python" "$pip/pip" install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
        --root-user-action=ignore "$release"/wheels/*.whl
    # Once, and not at each start by every unit, which may not write here.
    "$release/venv/bin/python" -m compileall -q -j 0 "$release/venv/lib" "$release/source" || true
    rm -rf "$release/wheels" "$pip"
    touch "$release/complete"
fi
point() {
    ln -sfn "$1" "$2.new"
    mv -T "$2.new" "$2"
}
last=$(readlink "$home/venv" || true)
point "$release/venv" "$home/venv"
point "$release/source" "$home/app"
for other in "$home"/releases/*/; do
    other=${other%/}
    case $other in
    "$release" | "${last%/venv}") continue ;;
    esac
    # bin/in-release has locked it for each process that it started there.
    if [ ! -e "$other/complete" ] || flock --nonblock --exclusive "$other/complete" true; then
        rm -rf "$other"
    fi
done
rm -f "$home/wheelhouse.tar" "$home/bundle.tar"
