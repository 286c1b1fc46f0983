#!/usr/bin/env bash
# Tables 3 and 9 of the MUCS paper (arXiv 2605.17938): ensembles of the scores that Table 1 has stored; `toy` on the
# digits of glyphs and a CPU, where the classifier's features stand for DINO's and pixel similarity for CLIP's.
# Further arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true

case "$scale" in
  paper)
    setting=("experiment=mucs_cifar10,mucs_artbench10,mucs_coco" "seed=1,2,3,4,5,6")
    verdicts() { sweep "${setting[@]}" method=mucs,ensemble_a,ensemble_b,ensemble_c,ensemble_d "$@"; }
    ;;
  toy) # with the settings of mucs_table_1.sh, so that the scores are those stored there
    setting=(experiment=glyph_digits "seed=1,2,3")
    members="method.members"
    dimension="gradients.projection.dimension=4096"
    stand_ins=("method@$members.dino=features" "method@$members.clip=pixel")
    gradients=("$members.das.damping=20" "$members.das.$dimension" "$members.dtrak.damping=1e6" "$members.dtrak.$dimension")
    verdicts() {
      for ensemble in ensemble_b ensemble_d; do
        sweep "${setting[@]}" "method=$ensemble" "${stand_ins[@]}" "$@"
      done
      for ensemble in ensemble_a ensemble_c; do
        sweep "${setting[@]}" "method=$ensemble" "${stand_ins[@]}" "${gradients[@]}" "$@"
      done
    }
    ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
stages "$@"
