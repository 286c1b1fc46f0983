#!/usr/bin/env bash
# LDS as D-TRAK and DAS take it (64 halves, 3 trainings each). The first command tells the best dampings by the control
# images: give them to the second with method.damping=...; `toy`: 32 halves of
# glyphs, one training each. The trainings are shared by all methods, and by all copies of this script that run at once.
# Further arguments go to every command.
set -euo pipefail
scale="${1:-paper}"
shift || true
similarities="random,pixel,condition"
gradients="trak,dtrak,das"
others="tracin,gradient_cosine,forward_inf,abu,mucs"
case "$scale" in
  paper) setting="experiment=mucs_cifar10 protocol=lds" ;;
  toy) setting="experiment=glyphs_mucs protocol=lds protocol.subsets=32 protocol.repeats=1 protocol.draws=1000" ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr -m $setting "method=$gradients" "method.damping=choice(grid)" queries.explained=controls "$@"
tdattr -m $setting "method=$similarities,$gradients,$others" "$@"
tdattr-report
