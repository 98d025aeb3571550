// What the GPU runs: one thread per value of the output, one launch per frame or batch of frames.
// NVRTC compiles this text behind arithmetic.h.

using namespace onenipd;

// Pictures of one launch.
struct Batch {
    Picture pictures[8];
};

// grid: (side / 16 up, side / 16 up, pictures), block: (16, 16).
extern "C" __global__ void __launch_bounds__(256)
    preprocess_f32(Batch batch, Axis across, Axis down, const float* normalised,
                   int side, float* out) {
    const int x = blockIdx.x * 16 + threadIdx.x;
    const int y = blockIdx.y * 16 + threadIdx.y;
    if (x >= side || y >= side) return;
    float* slot = out + (long long)blockIdx.z * 3 * side * side;
    write_pixel(batch.pictures[blockIdx.z], across, down, normalised, side, x, y, slot,
                [](float value) { return value; });
}

extern "C" __global__ void __launch_bounds__(256)
    preprocess_f16(Batch batch, Axis across, Axis down, const float* normalised,
                   int side, unsigned short* out) {
    const int x = blockIdx.x * 16 + threadIdx.x;
    const int y = blockIdx.y * 16 + threadIdx.y;
    if (x >= side || y >= side) return;
    unsigned short* slot = out + (long long)blockIdx.z * 3 * side * side;
    write_pixel(batch.pictures[blockIdx.z], across, down, normalised, side, x, y, slot,
                [](float value) { return half_of(value); });
}

// The map against its threshold, and the map made small for people to look at: thread n makes
// word n of the mask and block n of the small map, where there are so many. block: 256.
extern "C" __global__ void __launch_bounds__(256)
    threshold_map(const float* map, int side, float threshold, unsigned* mask, int block,
                  float* small) {
    const long long thread = (long long)blockIdx.x * 256 + threadIdx.x;
    const long long pixels = (long long)side * side;
    if (thread * 32 < pixels) mask[thread] = mask_word(map, thread * 32, pixels, threshold);
    const int blocks = (side + block - 1) / block;
    if (thread < (long long)blocks * blocks) {
        small[thread] = block_peak(map, side, block, int(thread % blocks), int(thread / blocks));
    }
}
