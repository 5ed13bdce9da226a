#!/usr/bin/env bash
# Builds the program for CUDA, on a machine with or without a GPU, into target/cuda/release/spotter.
#
# The toolkit comes as Python packages into target/cuda-toolkit (1.2 GB), unless CUDA_HOME names one. Linking wants the
# driver's library, which comes with a driver only: where there is none, a stub stands in for it, whose every function
# fails. SPOTTER_CUDA_ARCH
# is the compute capability to build for (90 for H100 and H200; 89, 86, 80, 75 for older ones).
set -euo pipefail
cd "$(dirname "$0")/.."

arch=${SPOTTER_CUDA_ARCH:-90}

# The toolkit must not be newer than the driver's CUDA: a driver refuses kernels of a later one (580 and later take 13.0).
if [ -z "${CUDA_HOME:-}" ]; then
  packages=$(bash scripts/fetch-pip.sh cuda-toolkit nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.1.0.3 \
    nvidia-curand==10.4.0.35)
  export CUDA_HOME=$packages/nvidia/cu13
  ln -sfn lib "$CUDA_HOME/lib64"
  # The packages hold libraries without the names that a linker looks for.
  for library in "$CUDA_HOME"/lib/lib*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
  done
fi

# Where there is no driver: its library by name, with every function that the bindings declare.
cargo fetch --locked
bindings=$(cargo metadata --locked --format-version 1 --features cuda |
  python3 -c 'import json, sys; print(*[p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"])')
stub=$PWD/target/cuda-stub/$(basename "$(dirname "$bindings")")
# Not on everybody's search path.
driver=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | awk '/libcuda\.so\.1 / && !found++ { print $NF }' || true)
if [ -n "$driver" ]; then
  # The linker wants the name without a number, which is not always there.
  stub=$stub-driver
  mkdir -p "$stub"
  ln -sf "$driver" "$stub/libcuda.so"
elif [ ! -e "$stub/libcuda.so.1" ]; then
  mkdir -p "$stub"
  # 999 is CUDA_ERROR_UNKNOWN.
  grep -ohE 'fn cu[A-Z][A-Za-z0-9_]*' "$(dirname "$bindings")/src/driver/sys/mod.rs" | awk '{print $2}' | sort -u |
    awk '{print "int " $1 "(void) { return 999; }"}' >"$stub/stub.c"
  gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so.1" "$stub/stub.c"
  ln -sf libcuda.so.1 "$stub/libcuda.so"
fi

export CUDA_PATH=$CUDA_HOME PATH=$CUDA_HOME/bin:$PATH CUDA_COMPUTE_CAP=$arch
libraries=$CUDA_HOME/lib:$CUDA_HOME/lib64:$stub
export LIBRARY_PATH=$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}
# A folder of its own: another set of features would build everything anew in either.
cargo build --release --locked --features cuda --target-dir target/cuda

binary=target/cuda/release/spotter
echo "$binary: $(du -h "$binary" | cut -f1), compute capability $arch"

# It starts without a GPU, computes on the CPU, and says of CUDA in one line that it is not there.
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
"$binary" --version
if said=$("$binary" bench --device cuda --batch 1 2>&1); then
  echo "$said"
elif [ -n "$driver" ]; then
  echo "$said" >&2
  exit 1
elif [ "$(wc -l <<<"$said")" = 1 ] && grep -q 'no such GPU answers' <<<"$said"; then
  echo "without a GPU: $said"
else
  echo "expected one clear error of --device cuda, got: $said" >&2
  exit 1
fi
# Not with the stub, which would stand before a driver.
echo "to run it where there is a driver: LD_LIBRARY_PATH=$CUDA_HOME/lib:$CUDA_HOME/lib64 $binary"
