#!/usr/bin/env bash
# Tables 3 and 9 of the MUCS paper (arXiv 2605.17938): ensembles of the scores that Table 1 has stored; `toy` on the digits of glyphs
# and a CPU, where the classifier's features stand for DINO's and pixel similarity for CLIP's.
# Further arguments go to every command.
set -euo pipefail
scale="${1:-paper}"
shift || true
ensembles="ensemble_a,ensemble_b,ensemble_c,ensemble_d"
case "$scale" in
  paper) tdattr -m experiment=mucs_cifar10,mucs_artbench10,mucs_coco "method=mucs,$ensembles" seed=1,2,3,4,5,6 "$@" ;;
  toy)
    for ensemble in ${ensembles//,/ }; do
      tdattr -m experiment=glyph_digits "method=$ensemble" method@method.members.dino=features \
        method@method.members.clip=pixel seed=1,2,3 "$@"
    done
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
