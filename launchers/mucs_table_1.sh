#!/usr/bin/env bash
# Tables 1, 5, 6, 7 and 8 of the MUCS paper (arXiv 2605.17938), which come from the same runs; `toy` on glyphs and a CPU.
# Further arguments go to every command.
set -euo pipefail
scale="${1:-paper}"
shift || true
common="random,condition,dtrak,das,forward_inf,abu,mucs"
case "$scale" in
  paper) tdattr -m experiment=mucs_cifar10,mucs_artbench10,mucs_coco "method=$common,clip,dino" seed=1,2,3,4,5,6 "$@" ;;
  toy) tdattr -m experiment=glyphs_mucs "method=$common,pixel,features,trak,tracin,gradient_cosine" seed=1,2,3 "$@" ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
