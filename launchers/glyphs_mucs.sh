#!/usr/bin/env bash
# docs/results.md, "MUCS on glyphs": both tables. The retrains in independent order share F1 and all scores with the coupled ones.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
tdattr -m experiment=glyphs_mucs method=random,pixel,mucs seed=1,2,3
tdattr -m experiment=glyphs_mucs method=random,pixel,mucs seed=1,2,3 train.coupled=false
tdattr-report
