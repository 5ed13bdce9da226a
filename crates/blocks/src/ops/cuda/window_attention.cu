// Attention inside windows, with relative position bias and the mask of shifted windows, in one kernel.
//
// A block is one head of one window. Its keys and values lie in shared memory; every thread owns one query and goes over
// the keys once, keeping the running maximum and sum of its softmax (Milakov and Gimelshein 2018), so that no score is
// ever written down. Sums are f32 whatever the tensors are.
//
// Compiled for the host (with -DSPOTTER_HOST), the same functions run one thread after the other; a test does so.

#ifdef SPOTTER_HOST
#include <cmath>
#include <cstdio>
#include <vector>
#define __device__
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

struct Sizes {
  // Tokens of a window, heads, channels of a head.
  int area, heads, depth;
};

__device__ inline float wide(float x) { return x; }
__device__ inline void store(float *to, float x) { *to = x; }
#ifndef SPOTTER_HOST
__device__ inline float wide(__half x) { return __half2float(x); }
__device__ inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(__half *to, float x) { *to = __float2half(x); }
__device__ inline void store(__nv_bfloat16 *to, float x) { *to = __float2bfloat16(x); }
#endif

// One thread's part in bringing keys and values of a head to shared memory. `qkv` begins at the window.
template <typename T>
__device__ inline void load(const T *qkv, Sizes s, int head, int thread, int threads, float *keys, float *values) {
  const int channels = s.heads * s.depth;
  for (int i = thread; i < s.area * s.depth; i += threads) {
    const T *row = qkv + (i / s.depth) * 3 * channels + head * s.depth + i % s.depth;
    keys[i] = wide(row[channels]);
    values[i] = wide(row[2 * channels]);
  }
}

// One query. `bias` and `mask` begin at its row; there may be no mask.
template <typename T, int DEPTH>
__device__ inline void attend(const T *q, Sizes s, const float *keys, const float *values, const float *bias,
                              const float *mask, T *out) {
  float query[DEPTH], sums[DEPTH];
  const float scale = 1.0f / sqrtf((float)DEPTH);
  for (int c = 0; c < DEPTH; ++c) {
    query[c] = wide(q[c]) * scale;
    sums[c] = 0.0f;
  }
  float largest = -INFINITY, total = 0.0f;
  for (int key = 0; key < s.area; ++key) {
    float score = bias[key] + (mask ? mask[key] : 0.0f);
    for (int c = 0; c < DEPTH; ++c) score += query[c] * keys[key * DEPTH + c];
    const float now = fmaxf(largest, score);
    const float fade = expf(largest - now), weight = expf(score - now);
    largest = now;
    total = total * fade + weight;
    for (int c = 0; c < DEPTH; ++c) sums[c] = sums[c] * fade + weight * values[key * DEPTH + c];
  }
  for (int c = 0; c < DEPTH; ++c) store(out + c, sums[c] / total);
}

#ifndef SPOTTER_HOST

// Grid: windows across, of which there may be many, heads down. Threads: at least one a query. Shared memory: 2 * area * depth floats.
template <typename T, int DEPTH>
__device__ inline void window(const T *qkv, const float *bias, const float *mask, T *out, int area, int heads,
                              int windows_of_map) {
  extern __shared__ float shared[];
  const Sizes s = {area, heads, DEPTH};
  const int head = blockIdx.y, channels = heads * DEPTH;
  const size_t first = (size_t)blockIdx.x * area;
  const T *own = qkv + first * 3 * channels;
  load(own, s, head, (int)threadIdx.x, (int)blockDim.x, shared, shared + area * DEPTH);
  __syncthreads();
  const int row = threadIdx.x;
  if (row >= area) return;
  const float *masked = windows_of_map ? mask + ((size_t)(blockIdx.x % windows_of_map) * area + row) * area : nullptr;
  attend<T, DEPTH>(own + (size_t)row * 3 * channels + head * DEPTH, s, shared, shared + area * DEPTH,
                   bias + ((size_t)head * area + row) * area, masked, out + (first + row) * channels + head * DEPTH);
}

#define KERNEL(NAME, T, DEPTH)                                                                                         \
  extern "C" __global__ void window_attention_##NAME##_##DEPTH(const T *qkv, const float *bias, const float *mask,      \
                                                               T *out, int area, int heads, int windows_of_map) {      \
    window<T, DEPTH>(qkv, bias, mask, out, area, heads, windows_of_map);                                               \
  }
#define KERNELS(NAME, T) KERNEL(NAME, T, 8) KERNEL(NAME, T, 16) KERNEL(NAME, T, 24) KERNEL(NAME, T, 32)
KERNELS(f32, float)
KERNELS(f16, __half)
KERNELS(bf16, __nv_bfloat16)

#else

// Reads area, heads, windows and windows of a map (0: no mask), then qkv, bias and mask; writes the result. Depth is 8.
int main() {
  int head[4];
  if (fread(head, sizeof(int), 4, stdin) != 4) return 1;
  const int area = head[0], heads = head[1], windows = head[2], of_map = head[3], depth = 8, channels = heads * depth;
  auto read = [](size_t count) {
    std::vector<float> values(count);
    if (fread(values.data(), sizeof(float), count, stdin) != count) values.clear();
    return values;
  };
  const auto qkv = read((size_t)windows * area * 3 * channels), bias = read((size_t)heads * area * area);
  const auto mask = read((size_t)of_map * area * area);
  if (qkv.empty() || bias.empty()) return 1;
  std::vector<float> out((size_t)windows * area * channels), keys(area * depth), values(area * depth);
  const Sizes s = {area, heads, depth};
  const int threads = 64;
  for (int window = 0; window < windows; ++window) {
    for (int head = 0; head < heads; ++head) {
      const float *own = qkv.data() + (size_t)window * area * 3 * channels;
      for (int t = 0; t < threads; ++t) load(own, s, head, t, threads, keys.data(), values.data());
      for (int row = 0; row < area; ++row) {
        const float *masked = of_map ? mask.data() + ((size_t)(window % of_map) * area + row) * area : nullptr;
        attend<float, 8>(own + (size_t)row * 3 * channels + head * depth, s, keys.data(), values.data(),
                         bias.data() + ((size_t)head * area + row) * area, masked,
                         out.data() + ((size_t)window * area + row) * channels + head * depth);
      }
    }
  }
  return fwrite(out.data(), sizeof(float), out.size(), stdout) == out.size() ? 0 : 1;
}

#endif
