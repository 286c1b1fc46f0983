#!/usr/bin/env bash
# Table 2 of the MUCS paper (arXiv 2605.17938): its ablations on COCO; `toy` on the digits of glyphs and a CPU.
# Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
rows="none,weight_0.1,weight_0.3,unlearn_levels,no_null_loss,block,subtraction,fresh_noise,full_schedule,training_levels"
case "$scale" in
  paper) tdattr -m experiment=mucs_coco "ablation=$rows" seed=1,2,3,4,5,6 "$@" ;;
  toy) tdattr -m experiment=glyph_digits "ablation=$rows" seed=1,2,3 "$@" ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
