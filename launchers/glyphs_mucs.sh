#!/usr/bin/env bash
# docs/results.md, "MUCS on glyphs": both tables. The retrains in independent order share F1 and all scores with the coupled ones.
# Arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"

models() { sweep experiment=glyphs_mucs seed=1,2,3 "$@"; }
verdicts() {
  sweep experiment=glyphs_mucs method=random,pixel,mucs seed=1,2,3 "$@"
  sweep experiment=glyphs_mucs method=random,pixel,mucs seed=1,2,3 train.coupled=false "$@"
}
stages "$@"
