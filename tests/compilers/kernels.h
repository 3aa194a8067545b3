// Runs naga's Metal kernels on the CPU, one invocation after the other, at a request of the test's.
#pragma once
#include "metal_stdlib"
#include <cstddef>
#include <type_traits>
#include <utility>

typedef void (*Run)(uint invocations, void** buffers);

template <class... Arguments, size_t... I>
static void run_all(void (*entry)(metal::uint3, metal::uint3, Arguments...), uint invocations,
                    void** buffers, std::index_sequence<I...>) {
    for (uint i = 0; i < invocations; i++) {
        // One long row of workgroups.
        entry(metal::uint3{i, 0, 0}, metal::uint3{0x10000000, 1, 1},
              *static_cast<std::remove_reference_t<Arguments>*>(buffers[I])...);
    }
}

// Buffers go to the arguments behind the two numbers of the invocation, in order.
template <class... Arguments>
static void run(void (*entry)(metal::uint3, metal::uint3, Arguments...), uint invocations,
                void** buffers) {
    run_all(entry, invocations, buffers, std::index_sequence_for<Arguments...>{});
}
