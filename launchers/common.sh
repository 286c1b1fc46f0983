# shellcheck shell=bash
# What the scripts of this folder share. LAUNCHER says where the jobs of their sweeps run: `basic`, one after another, the
# default; `local`, several at once on this machine; `slurm`, on a cluster. With the last two a script goes stage by
# stage, each as wide as it can be: all first models with their queries, all scores, then retrains and verdicts. Its last
# status is 1 where some jobs failed; the others' results are in the report.
PATH="$PATH:$(dirname "${BASH_SOURCE[0]}")/../.venv/bin" # of `make install`, unless another environment is active
LAUNCHER="${LAUNCHER:-basic}"
case "$LAUNCHER" in
  basic | local | slurm) ;;
  *) echo "LAUNCHER=$LAUNCHER must be basic, local or slurm." >&2; exit 2 ;;
esac
failed=0

# sweep ARGUMENT...: a sweep. Where jobs of it fail the script goes on; a signal ends it.
sweep() {
  local status=0
  tdattr -m "hydra/launcher=$LAUNCHER" "$@" || status=$?
  if [ "$status" -gt 128 ]; then exit "$status"; fi
  if [ "$status" -ne 0 ]; then failed=1; fi
}

# stages ARGUMENT...: run a script's two functions, `models`, which sweeps over everything that F1 depends on, and
# `verdicts`, which sweeps over all that is judged, with those arguments for every sweep; then the report.
stages() {
  if [ "$LAUNCHER" != basic ]; then
    models method=random until=generate "$@"
    verdicts until=attribute "$@"
  fi
  verdicts "$@"
  tdattr-report || failed=1
  exit "$failed"
}

# usage: say how the script is called, and end.
usage() {
  echo "usage: [LAUNCHER=basic|local|slurm] $0 [paper|toy] [overrides]" >&2
  exit 2
}
