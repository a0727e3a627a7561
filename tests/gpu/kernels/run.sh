#!/usr/bin/env bash
# Single kernels on this GPU.
check() { # NAME COMMAND...: the last line is the detail
    local name=$1 out status
    shift
    out=$(timeout 200 "$@" 2>&1)
    status=$?
    if [ $status = 0 ]; then
        echo "ok kernels $name: $(tail -n 1 <<<"$out")"
    else
        echo "FAILED kernels $name: status $status: $(tail -n 3 <<<"$out" | tr '\n' ' ')"
    fi
}
for shape in shape odd deep; do
    check "products of $shape" ./$shape/products $shape test
    [ ! -f $shape/test_attention ] || check "attention of $shape" ./$shape/test_attention $shape
done
[ ! -f shape/test_sample ] || check "sampling" ./shape/test_sample shape/sample.cubin 1000 shape/random_weights.cubin 6
