#!/usr/bin/env bash
# GUDA-C on UnlearnCanvas with Stable Diffusion 1.5 (arXiv 2601.22651): LOGO's 16 folds, the anchors, ESD and gradient ascent,
# similarities, and the ablations of weighted style selection; `toy` on the typeface families of glyphs with a base model
# that is trained first, and a CPU. Further arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true
objective="objective@method.objective"
teacher="method.objective.teacher=null" # F1 itself, under the empty prompt

case "$scale" in
  paper)
    setting=(experiment=guda_unlearncanvas accuracy=vit)
    verdicts() {
      sweep "${setting[@]}" method=guda_c "$objective=awss,uniform,style_removed,matched_retain,matched_retain_published_code" "$@"
      sweep "${setting[@]}" method=guda_c "$objective=gradient_ascent" "$@"
      sweep "${setting[@]}" method=guda_c "$objective=esd" "$teacher" "$@"
      # 400 images of a style, as published
      sweep "${setting[@]}" method=group_similarity extractor@method.extractor=clip_l14_openai method.images=400 "$@"
      sweep "${setting[@]}" method=logo_images,pixel,random "$@"
      sweep experiment=guda_c_ablations "$@"
    }
    ;;
  toy)
    tdattr-base
    setting=(experiment=guda_c_glyphs method@protocol.ceiling=logo_again accuracy=classifier accuracy.objects=5)
    clip="extractor@method.extractor=clip_sd_tiny" # the base model's own CLIP
    verdicts() {
      sweep "${setting[@]}" method=random,pixel,logo_images,group_similarity "$@"
      sweep "${setting[@]}" method=group_similarity "$clip" "$@"
      sweep "${setting[@]}" method=clip "$clip" "$@"
      sweep "${setting[@]}" method=guda_c "$objective=awss,uniform,style_removed,matched_retain,gradient_ascent" "$@"
      sweep "${setting[@]}" method=guda_c "$objective=esd" "$teacher" "$@"
      # as 80 queries would take hours otherwise
      sweep "${setting[@]}" method=mucs method.score.pairs=5 method.unlearn.max_steps=20 "$@"
    }
    ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
stages "$@"
