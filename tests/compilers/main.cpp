// The host of the kernels that the test compiles: answers requests from the standard input until it
// ends. A request is words: the kernel, invocations, whether subnormal numbers are flushed, the
// buffer that is the answer, how many buffers there are and how many words each has; and the buffers.
#include "kernels.h"
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <xmmintrin.h>

extern Run kernels[];

static bool read(void* to, size_t words) { return fread(to, 4, words, stdin) == words; }

int main() {
    // Flush to zero, and take subnormal inputs for zeros.
    const unsigned flushing = 0x8040;
    uint head[5];
    while (read(head, 5)) {
        std::vector<uint> lengths(head[4]);
        if (!read(lengths.data(), lengths.size())) {
            return 1;
        }
        std::vector<void*> buffers;
        for (uint length : lengths) {
            void* buffer = aligned_alloc(64, (size_t(length) * 4 + 127) / 64 * 64);
            if (!buffer || !read(buffer, length)) {
                return 1;
            }
            buffers.push_back(buffer);
        }
        unsigned before = _mm_getcsr();
        _mm_setcsr(head[2] ? before | flushing : before & ~flushing);
        kernels[head[0]](head[1], buffers.data());
        _mm_setcsr(before);
        uint answer = head[3];
        fwrite(buffers[answer], 4, lengths[answer], stdout);
        fflush(stdout);
        for (void* buffer : buffers) {
            free(buffer);
        }
    }
}
