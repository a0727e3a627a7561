/* Where each layer's weights lie on the device, in bytes.
 */
#ifndef CUDA_LAYERS_H
#define CUDA_LAYERS_H

#include "$shapes$"

// clang-format off
static const struct layer LAYER[LAYERS] = {
//% for _, line in ipairs(layer_lines) do
    $line$
//% end
};
// clang-format on

#endif
