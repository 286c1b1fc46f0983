#!/usr/bin/env bash
# GUDA on CIFAR-10 (arXiv 2601.22651): its objectives and baselines beside LOGO's agreement with itself; `toy` on the
# typeface families of glyphs, drawn as digits, and a CPU. Trainings and unlearned models are shared by all copies that
# run at once. Further arguments go to every command.
set -euo pipefail
scale="${1:-paper}"
shift || true
ceiling="method@protocol.ceiling=logo_again"
case "$scale" in
  paper)
    setting="experiment=guda_cifar10 $ceiling"
    published="method.unlearn.clip=1.0"
    tdattr -m $setting method=logo,group_similarity,logo_images,pixel "$@"
    tdattr -m $setting method=guda_u objective@method.objective=retrack_paper,retrack_published_code,retrack "$@"
    tdattr -m $setting method=guda_u objective@method.objective=erasediff,siss,gradient_ascent,finetune $published "$@"
    # ESD needs conditions, and so a network and a LOGO of its own
    tdattr $setting model=unet_cifar10_conditional dataset.source.condition=label train.steps=78000 method=guda_u \
      objective@method.objective=esd $published method.unlearn.optimizer=adam method.unlearn.weight_decay=0 \
      method.unlearn.warmup_steps=500 method.unlearn.learning_rate=3e-5 "$@"
    ;;
  toy)
    setting="experiment=guda_glyphs $ceiling"
    tdattr -m $setting method=random,pixel,condition,features,group_similarity,logo_images "$@"
    tdattr $setting method=das method.damping=40.96 method.gradients.projection.dimension=4096 "$@"
    tdattr $setting method=dtrak method.damping=204800 method.gradients.projection.dimension=4096 "$@"
    tdattr $setting method=mucs "$@"
    tdattr -m $setting method=guda_u objective@method.objective=retrack_contrast,retrack,retrack_paper "$@"
    tdattr -m $setting method=guda_u objective@method.objective=retrack_published_code,erasediff,siss,gradient_ascent,finetune,esd "$@"
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
