#!/usr/bin/env bash
# Tables 3 and 9 of the MUCS paper (arXiv 2605.17938): ensembles of the scores that Table 1 has stored; `toy` on the
# digits of glyphs and a CPU, where the classifier's features stand for DINO's and pixel similarity for CLIP's.
# Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
ensembles="ensemble_a,ensemble_b,ensemble_c,ensemble_d"
case "$scale" in
  paper) tdattr -m experiment=mucs_cifar10,mucs_artbench10,mucs_coco "method=mucs,$ensembles" seed=1,2,3,4,5,6 "$@" ;;
  toy) # with the settings of mucs_table_1.sh, so that the scores are those stored there
    members="method.members"
    dimension="gradients.projection.dimension=4096"
    setting="experiment=glyph_digits method@$members.dino=features method@$members.clip=pixel seed=1,2,3"
    gradients="$members.das.damping=20 $members.das.$dimension"
    gradients="$gradients $members.dtrak.damping=1e6 $members.dtrak.$dimension"
    for ensemble in ensemble_b ensemble_d; do
      tdattr -m $setting method=$ensemble "$@"
    done
    for ensemble in ensemble_a ensemble_c; do
      tdattr -m $setting method=$ensemble $gradients "$@"
    done
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
