#!/usr/bin/env bash
# Build both images for real, without an engine or an image registry, and try them: buildah with
# vfs storage and chroot isolation, on a base made by debootstrap. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in buildah debootstrap; do
    if ! command -v "$tool" >/dev/null; then
        echo "images-check needs $tool: apt-get install buildah debootstrap" >&2
        exit 2
    fi
done

work=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
storage=(--root "$work/storage" --runroot "$work/run")
server=""
clean() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    buildah "${storage[@]}" rm --all >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

echo "== base: Debian with python3"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$work/root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" \
    || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
# The image's package client needs what this machine uses to reach the registry.
for file in /etc/pip.conf /etc/resolv.conf /etc/hosts; do
    [ ! -f "$file" ] || cp "$file" "$work/root$file"
done
cp -r /etc/ssl/certs/. "$work/root/etc/ssl/certs/"
base=$(buildah "${storage[@]}" from scratch)
buildah "${storage[@]}" add -q "$base" "$work/root" /
buildah "${storage[@]}" commit -q "$base" cotam-base >/dev/null
rm -rf "$work/root"

for part in edge cloud; do
    echo "== $part"
    buildah "${storage[@]}" bud -q --format docker --build-arg BASE=localhost/cotam-base \
        ${PIP_INDEX_URL:+--env PIP_INDEX_URL="$PIP_INDEX_URL"} \
        -f "docker/$part.Dockerfile" -t "cotam-$part" . >/dev/null
done

edge=$(buildah "${storage[@]}" from localhost/cotam-edge)
echo "== edge_client --version"
buildah "${storage[@]}" run "$edge" -- edge_client --version

echo "== one question"
cloud=$(buildah "${storage[@]}" from localhost/cotam-cloud)
buildah "${storage[@]}" run "$cloud" -- \
    cloud_server serve --host 127.0.0.1 --port 8123 >"$work/server.log" 2>&1 &
server=$!
buildah "${storage[@]}" add -q "$edge" examples/street.png /tmp/street.png
for _ in $(seq 120); do
    if python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8123/readyz')" 2>/dev/null
    then
        buildah "${storage[@]}" run "$edge" -- \
            edge_client send /tmp/street.png "how many cars?" --server http://127.0.0.1:8123
        echo "== both images work"
        exit 0
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 1
done
echo "the server in the image did not become ready:" >&2
tail -n 20 "$work/server.log" >&2
exit 1
