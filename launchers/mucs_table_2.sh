#!/usr/bin/env bash
# Table 2 of the MUCS paper (arXiv 2605.17938): its ablations on COCO; `toy` on the digits of glyphs and a CPU.
# Further arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true
rows="none,weight_0.1,weight_0.3,unlearn_levels,no_null_loss,block,subtraction,fresh_noise,full_schedule,training_levels"

case "$scale" in
  paper) setting=(experiment=mucs_coco "seed=1,2,3,4,5,6") ;;
  toy) setting=(experiment=glyph_digits "seed=1,2,3") ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
verdicts() { sweep "${setting[@]}" "ablation=$rows" "$@"; }
stages "$@"
