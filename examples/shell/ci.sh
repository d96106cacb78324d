#!/usr/bin/env bash
# Tests a project in throwaway machines, in any continuous integration that runs a shell script:
#   ci.sh [OPTION OF BIVOUAC TEST...] IMAGE
# Each script in tests/ is a case with a machine of its own. The results go to $RESULTS (by default
# results/), as JUnit's XML with the output of what failed. $PREPARE, if set, is run once, before all cases.
# Keep ~/.cache/bivouac between runs, and the machine is not booted again.
set -euo pipefail
results=${RESULTS:-results}
mkdir -p "$results"
# What a machine says about this host, for the log. It fails where no machine can run.
bivouac doctor >"$results/doctor.txt" || { cat "$results/doctor.txt" >&2; exit 1; }

prepare=()
[ -z "${PREPARE:-}" ] || prepare=(--prepare "$PREPARE")
# Statuses: 0 all passed, 1 some failed, 125 bivouac could not run them.
find tests -name '*.sh' | sort | bivouac test --timeout "${TIMEOUT:-10m}" --retries "${RETRIES:-0}" \
    --junit "$results/junit.xml" --copy-in tests:/srv/project/tests "${prepare[@]}" "$@" \
    -- sh -ec 'cd /srv/project && exec sh "$0"' {}
