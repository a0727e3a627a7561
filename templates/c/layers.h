/* Where each layer's weights lie in the payload, in bytes.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include "shapes.h"

// clang-format off
static const struct layer LAYER[LAYERS] = {
//% for _, line in ipairs(layer_lines) do
    $line$
//% end
};
// clang-format on

#endif
