// Runs the kernels' arithmetic on the CPU, thread by thread as their grids would: cases from the
// standard input, what the GPU would write to the standard output. All numbers little-endian.
#include "arithmetic.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace onenipd;

template <typename T>
static std::vector<T> read_values(size_t count) {
    std::vector<T> values(count);
    if (count != 0 && std::fread(values.data(), sizeof(T), count, stdin) != count) {
        std::fprintf(stderr, "the input ends early\n");
        std::exit(1);
    }
    return values;
}

template <typename T>
static void write_values(const std::vector<T>& values) {
    if (std::fwrite(values.data(), sizeof(T), values.size(), stdout) != values.size()) {
        std::fprintf(stderr, "the output cannot be written\n");
        std::exit(1);
    }
}

static Axis read_axis(int side, std::vector<int>& starts, std::vector<unsigned>& weights) {
    const int taps = read_values<int>(1)[0];
    starts = read_values<int>(side);
    weights = read_values<unsigned>((size_t)side * taps);
    return {starts.data(), weights.data(), taps};
}

static void preprocess() {
    const std::vector<int> head = read_values<int>(12);
    Picture picture{};
    picture.format = head[0];
    picture.stride_bytes = head[1];
    picture.chroma_stride_bytes = head[2];
    picture.region_x = head[3];
    picture.region_y = head[4];
    picture.colour = {head[5], head[6], head[7], head[8], head[9], head[10]};
    const int side = head[11];
    std::vector<unsigned char> planes[3];
    for (int plane = 0; plane < 3; ++plane) {
        planes[plane] = read_values<unsigned char>(read_values<int>(1)[0]);
        picture.planes[plane] = planes[plane].data();
    }
    std::vector<int> starts[2];
    std::vector<unsigned> weights[2];
    const Axis across = read_axis(side, starts[0], weights[0]);
    const Axis down = read_axis(side, starts[1], weights[1]);
    const std::vector<float> normalised = read_values<float>(3 * 256);
    std::vector<float> full(3 * (size_t)side * side);
    std::vector<unsigned short> half(full.size());
    for (int y = 0; y < side; ++y) {
        for (int x = 0; x < side; ++x) {
            write_pixel(picture, across, down, normalised.data(), side, x, y, full.data(),
                        [](float value) { return value; });
            write_pixel(picture, across, down, normalised.data(), side, x, y, half.data(),
                        [](float value) { return half_of(value); });
        }
    }
    write_values(full);
    write_values(half);
}

static void threshold() {
    const std::vector<int> head = read_values<int>(2);
    const int side = head[0], block = head[1];
    const float limit = read_values<float>(1)[0];
    const std::vector<float> map = read_values<float>((size_t)side * side);
    const long long pixels = (long long)side * side;
    std::vector<unsigned> mask;
    for (long long first = 0; first < pixels; first += 32) {
        mask.push_back(mask_word(map.data(), first, pixels, limit));
    }
    const int blocks = (side + block - 1) / block;
    std::vector<float> small;
    for (int n = 0; n < blocks * blocks; ++n) {
        small.push_back(block_peak(map.data(), side, block, n % blocks, n / blocks));
    }
    write_values(mask);
    write_values(small);
}

static void halves() {
    const std::vector<float> values = read_values<float>(read_values<int>(1)[0]);
    std::vector<unsigned short> half;
    for (float value : values) half.push_back(half_of(value));
    write_values(half);
}

int main() {
    int what;
    while (std::fread(&what, sizeof what, 1, stdin) == 1) {
        switch (what) {
            case 0: preprocess(); break;
            case 1: threshold(); break;
            default: halves(); break;
        }
    }
    return 0;
}
