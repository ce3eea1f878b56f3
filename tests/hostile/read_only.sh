#!/usr/bin/env bash
# Match as in a small container: a read-only file system, no home, one processor, 512 MB of address space.
#
# Usage, as root on Linux: tests/hostile/read_only.sh FOLDER, which holds an environment venv with the package installed,
# and two photographs, a.jpg and b.jpg.
set -euo pipefail
folder=$(realpath "$1")
if [ "${2-}" != inside ]; then exec unshare --mount bash "$0" "$folder" inside; fi
mount --make-rprivate /
mount -o remount,bind,ro /
for point in /dev/shm /run /tmp /var/tmp; do mount -o remount,bind,ro "$point" 2>/dev/null || true; done
if touch "$folder/written" 2>/dev/null; then echo "$folder can be written to" >&2; exit 1; fi
cd "$folder"
ulimit -v 524288
exec env -i PATH=/usr/bin:/bin taskset -c 0 venv/bin/semcorr match a.jpg b.jpg --point 100,100 --json
