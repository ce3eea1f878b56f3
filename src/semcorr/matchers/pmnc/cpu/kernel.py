"""The innermost loops of the compiled search, in LLVM's vectors.

Numba keeps an array that a loop adds to in memory, which costs more than the arithmetic. LLVM's vector types, written
here by hand, keep it in registers on every processor: sixteen floats are one AVX-512 register, two of AVX2, four of
NEON, and six rows of them fit the register files of all three. All matrices are float32 and given by address.
"""

# ruff: noqa: ARG001 - an intrinsic's arguments are read by its name alone, when its code is made

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

ROWS = 6
LANES = 16


SLACK = LANES  # floats behind the end of what is read or written here that must be there, and mean nothing

RUN = 8
_intrinsic: Callable[[Callable[..., Any]], Callable[..., None]] = intrinsic
_SINGLE = ir.FloatType()
_VECTOR, _RUN = ir.VectorType(_SINGLE, LANES), ir.VectorType(_SINGLE, RUN)


@_intrinsic
def multiply_add(
    _: Any, into: Any, into_stride: Any, rows: Any, stride: Any, columns: Any, step: Any, count: Any
) -> Any:
    """Add ``rows (ROWS, count) @ columns (count, LANES)`` to a block; strides are from row to row, in floats."""
    return types.void(*[types.intp] * 7), _emit_multiply_add


@_intrinsic
def copy_window(_: Any, into: Any, begin: Any, step: Any, side: Any) -> Any:
    """Copy ``side`` runs of ``side`` floats, ``step`` floats apart, one behind the other."""
    return types.void(*[types.intp] * 4), _emit_copy_window


@_intrinsic
def read_window(
    _: Any, into: Any, begin: Any, step: Any, rows: Any, columns: Any, weights: Any, weights_step: Any, factor: Any
) -> Any:
    """Copy ``rows`` runs of ``columns`` floats, ``step`` apart, and behind each ``factor · weights · max(run, 0)³``."""
    return types.void(*[types.intp] * 7, types.float32), _emit_read_window


def _at(builder: Any, address: Any, index: Any, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, builder.mul(index, index.type(4))), kind.as_pointer())


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, everywhere)


def _emit_multiply_add(_: Any, builder: Any, __: Any, arguments: Any) -> None:
    into, into_stride, rows, stride, columns, step, count = arguments
    size = into.type
    blocks = [_at(builder, into, builder.mul(into_stride, size(row)), _VECTOR) for row in range(ROWS)]
    lines = [builder.mul(stride, size(row)) for row in range(ROWS)]
    sums = [cgutils.alloca_once_value(builder, builder.load(block, align=4)) for block in blocks]
    with cgutils.for_range(builder, count) as loop:
        weights = builder.load(_at(builder, columns, builder.mul(loop.index, step), _VECTOR), align=4)
        for line, total in zip(lines, sums, strict=True):
            value = builder.load(_at(builder, rows, builder.add(line, loop.index), _SINGLE), align=4)
            # "contract" lets the processor fuse both where it can
            product = builder.fmul(_spread(builder, value, _VECTOR), weights, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    for block, total in zip(blocks, sums, strict=True):
        builder.store(builder.load(total), block, align=4)


def _emit_copy_window(_: Any, builder: Any, __: Any, arguments: Any) -> None:
    into, begin, step, side = arguments
    with cgutils.for_range(builder, side) as line:
        written, read = builder.mul(line.index, side), builder.mul(line.index, step)
        with cgutils.for_range_slice(builder, side.type(0), side, side.type(RUN), inc=True) as (index, _count):
            values = builder.load(_at(builder, begin, builder.add(read, index), _RUN), align=4)
            builder.store(values, _at(builder, into, builder.add(written, index), _RUN), align=4)


def _emit_read_window(_: Any, builder: Any, __: Any, arguments: Any) -> None:
    into, begin, step, rows, columns, weights, weights_step, factor = arguments
    zero, spread = ir.Constant(_RUN, [0.0] * RUN), _spread(builder, factor, _RUN)
    size = columns.type
    with cgutils.for_range(builder, rows) as line:
        read, weighed = builder.mul(line.index, step), builder.mul(line.index, weights_step)
        written = builder.mul(builder.mul(line.index, columns), size(2))
        for filtered in (False, True):
            with cgutils.for_range_slice(builder, size(0), columns, size(RUN), inc=True) as (index, _count):
                value = builder.load(_at(builder, begin, builder.add(read, index), _RUN), align=4)
                if filtered:
                    weight = builder.load(_at(builder, weights, builder.add(weighed, index), _RUN), align=4)
                    value = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                    cube = builder.fmul(builder.fmul(value, value), value)
                    value = builder.fmul(cube, builder.fmul(weight, spread))
                builder.store(value, _at(builder, into, builder.add(written, index), _RUN), align=4)
            written = builder.add(written, columns)
