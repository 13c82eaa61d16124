"""Bytes read many at a time, as one instruction of the processor: what LLVM has and Numba has no name for."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

WIDTH = 32  # bytes that `equal_to` compares


def _element(context, builder, kind, array, index):
    """Points to an element of an array, or of what `pointer` gave; `index` is uint64."""
    base = array if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, array).data
    return builder.gep(base, [index])


@intrinsic
def pointer(typing_context, array):
    """Points to the first element of an array that the caller of the kernel keeps.

    Numba counts the references to an array where it is passed on or gets a second name: with atomic instructions, which in a loop over
    units take more time than the loop. Pointers have none of that, nor a length, nor indices that count from the end.
    """

    def generate(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def copy(typing_context, target, source, begin, count):
    """Copies bytes between pointers: `count` of `source`, from `begin` on (int64), to the beginning of `target`."""

    def generate(context, builder, signature, arguments):
        from numba.core import cgutils

        target, source, begin, count = arguments
        cgutils.raw_memcpy(builder, target, builder.gep(source, [begin]), count, 1)
        return context.get_dummy_value()

    return types.void(target, source, types.int64, types.int64), generate


@intrinsic
def word_at(typing_context, text, index):
    """Gives eight bytes of a [bytes] uint8 from any index (uint64) on as uint64, on little-endian machines the first one lowest."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        pointer = _element(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(text, types.uint64), generate


@intrinsic
def fetch_early(typing_context, array, index):
    """Has the processor bring an element of an array (index uint64) into its cache, while it does what comes next."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        pointer = builder.bitcast(_element(context, builder, signature.args[0], *arguments), ir.IntType(8).as_pointer())
        integer = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, integer, integer, integer])
        )
        builder.call(function, [pointer, integer(0), integer(3), integer(1)])  # to be read, and to stay, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


@intrinsic
def equal_to(typing_context, text, index, byte):
    """Tells which of `WIDTH` bytes of a [bytes] uint8, from an index (uint64) on, are a byte (uint8): uint32, the first bit lowest."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        array, index, byte = arguments
        kind = ir.VectorType(ir.IntType(8), WIDTH)
        pointer = builder.bitcast(_element(context, builder, signature.args[0], array, index), kind.as_pointer())
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), byte, ir.IntType(32)(0))
        each = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))
        return builder.bitcast(builder.icmp_unsigned("==", builder.load(pointer, align=1), each), ir.IntType(32))

    return types.uint32(text, types.uint64, types.uint8), generate


@intrinsic
def lowest_bit(typing_context, bits):
    """Gives the number of the lowest bit of a uint32 that is 1; it is not 0."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.uint32(types.uint32), generate
