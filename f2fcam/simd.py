"""Several numbers at once inside a kernel: vectors of float32 as a numba type, for what LLVM does not vectorise by itself.

A colour is four lanes (the last one spare), a row of a table eight. What is written here is LLVM's own vector code, which
every processor has instructions for, or does without; `fastmath` of the kernel does not reach it, so it asks for it itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

FLOAT, BYTE, INT32 = ir.FloatType(), ir.IntType(8), ir.IntType(32)
FAST = ("fast",)
RGB_TAPS = 12
"""Numbers of four neighbouring RGB pixels."""


class Lanes(types.Type):
    """`count` float32 in one register."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"lanes{count}")

    @property
    def vector(self) -> ir.VectorType:
        """The type in LLVM's terms."""
        return ir.VectorType(FLOAT, self.count)


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Held as the vector itself."""

    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, fe_type.vector)


LANES4, LANES8 = Lanes(4), Lanes(8)


def _data(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value) -> ir.Value:
    """Address of a contiguous array's first element."""
    return context.make_array(kind)(context, builder, array).data


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """A vector from any address."""
    loaded = builder.load(builder.bitcast(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """A value to any address."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 1


def _picked(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, lanes: Sequence[int]) -> ir.Value:
    """Lanes of two vectors, those of the second numbered after the first's."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT32, len(lanes)), list(lanes)))


def _everywhere(builder: ir.IRBuilder, number: ir.Value, count: int) -> ir.Value:
    """One number in all lanes."""
    kind = ir.VectorType(number.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(INT32, 0))
    return _picked(builder, first, first, [0] * count)


def _constant(vector: ir.VectorType, number: float) -> ir.Constant:
    return ir.Constant(vector, [number] * vector.count)


@intrinsic
def lanes8(_: Any, array: Any, at: Any) -> Any:
    """Eight numbers of a contiguous float32 array from its flat index `at` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        return _load(builder, address, LANES8.vector)

    return LANES8(array, types.intp), generate


@intrinsic
def lanes4(_: Any, array: Any, at: Any) -> Any:
    """Four numbers of a contiguous float32 array from its flat index `at` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        return _load(builder, address, LANES4.vector)

    return LANES4(array, types.intp), generate


@intrinsic
def put8(_: Any, value: Any, array: Any, at: Any) -> Any:
    """Write eight numbers into a contiguous float32 array from its flat index `at` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        address = builder.gep(_data(context, builder, signature.args[1], args[1]), [args[2]])
        _store(builder, args[0], address)
        return context.get_dummy_value()

    return types.void(LANES8, array, types.intp), generate


@intrinsic(prefer_literal=True)
def lane(_: Any, vector: Any, number: Any) -> Any:
    """One of a vector's numbers; which one is a constant."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.extract_element(args[0], ir.Constant(INT32, number.literal_value))

    return types.float32(vector, number), generate


@intrinsic
def low4(_: Any, vector: Any) -> Any:
    """The first four of eight lanes."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _picked(builder, args[0], args[0], range(4))

    return LANES4(LANES8), generate


@intrinsic
def nothing4(_: Any) -> Any:
    """Four zeros, to add to."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _constant(LANES4.vector, 0.0)

    return LANES4(), generate


@intrinsic
def nothing8(_: Any) -> Any:
    """Eight zeros, to add to."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _constant(LANES8.vector, 0.0)

    return LANES8(), generate


@intrinsic
def colour(_: Any, red: Any, green: Any, blue: Any) -> Any:
    """Three numbers as a colour."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        vector = ir.Constant(LANES4.vector, [0.0] * 4)
        for number, value in enumerate(args):
            vector = builder.insert_element(vector, value, ir.Constant(INT32, number))
        return vector

    return LANES4(types.float32, types.float32, types.float32), generate


@intrinsic
def mix(_: Any, one: Any, other: Any, share: Any) -> Any:
    """`one + share * (other - one)` lane by lane."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        way = builder.fsub(args[1], args[0], flags=FAST)
        part = builder.fmul(way, _everywhere(builder, args[2], one.count), flags=FAST)
        return builder.fadd(args[0], part, flags=FAST)

    return one(one, one, types.float32), generate


@intrinsic
def scaled(_: Any, vector: Any, factor: Any) -> Any:
    """`factor * vector` lane by lane."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.fmul(args[0], _everywhere(builder, args[1], vector.count), flags=FAST)

    return vector(vector, types.float32), generate


@intrinsic
def times(_: Any, one: Any, other: Any) -> Any:
    """`one * other` lane by lane."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.fmul(*args, flags=FAST)

    return one(one, one), generate


@intrinsic
def plus(_: Any, one: Any, other: Any) -> Any:
    """`one + other` lane by lane."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.fadd(*args, flags=FAST)

    return one(one, one), generate


@intrinsic
def relit(_: Any, shown: Any, gain: Any, offset: Any) -> Any:
    """`(shown + offset) * gain - offset` lane by lane."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        aside = _everywhere(builder, args[2], 4)
        lifted = builder.fadd(args[0], aside, flags=FAST)
        return builder.fsub(builder.fmul(lifted, args[1], flags=FAST), aside, flags=FAST)

    return LANES4(LANES4, LANES4, types.float32), generate


@intrinsic
def bicubic(_: Any, picture: Any, at: Any, row: Any, down: Any, across: Any, y: Any, x: Any) -> Any:
    """A colour between 4 x 4 RGB pixels of a contiguous uint8 array.

    `at`: the index of the first of them; `row`: numbers per row. `down` (phases, 4) and `across` (phases, 12), the same
    weights with each one three times, are read at the phases `y` and `x`. Reads 16 bytes of each row: four beyond the taps.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        pixels, at, row, _, _, y, x = args
        first = builder.gep(_data(context, builder, signature.args[0], pixels), [at])
        heights = _data(context, builder, signature.args[3], args[3])
        widths = _data(context, builder, signature.args[4], args[4])
        sums: list[ir.Value | None] = [None, None]
        for number in range(4):
            raw = _load(builder, first, ir.VectorType(BYTE, 16))
            first = builder.gep(first, [row])
            index = builder.add(builder.mul(y, ir.Constant(y.type, 4)), ir.Constant(y.type, number))
            weight = builder.load(builder.gep(heights, [index]))
            for part, lanes in enumerate((range(8), range(8, RGB_TAPS))):
                vector = ir.VectorType(FLOAT, len(lanes))
                values = builder.uitofp(_picked(builder, raw, raw, lanes), vector)
                term = builder.fmul(values, _everywhere(builder, weight, len(lanes)), flags=FAST)
                known = sums[part]
                sums[part] = term if known is None else builder.fadd(known, term, flags=FAST)
        start = builder.gep(widths, [builder.mul(x, ir.Constant(x.type, RGB_TAPS))])
        rest = builder.gep(start, [ir.Constant(x.type, 8)])
        eight = builder.fmul(sums[0], _load(builder, start, LANES8.vector), flags=FAST)
        four = builder.fmul(sums[1], _load(builder, rest, LANES4.vector), flags=FAST)
        # eight: r g b r g b r g, four: b r g b
        columns = [
            _picked(builder, eight, eight, (0, 1, 2, 3)),
            _picked(builder, eight, eight, (3, 4, 5, 6)),
            _picked(builder, _picked(builder, eight, eight, (6, 7, 6, 7)), four, (0, 1, 4, 5)),
            _picked(builder, four, four, (1, 2, 3, 0)),
        ]
        halves = [builder.fadd(a, b, flags=FAST) for a, b in (columns[:2], columns[2:])]
        return builder.fadd(*halves, flags=FAST)

    return LANES4(picture, types.intp, types.intp, down, across, types.intp, types.intp), generate


@intrinsic
def put_colour(_: Any, value: Any, picture: Any, at: Any) -> Any:
    """Round a colour to three bytes of a contiguous uint8 array from its flat index `at` on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        vector, whole = LANES4.vector, ir.VectorType(INT32, 4)
        rounded = builder.fadd(args[0], _constant(vector, 0.5), flags=FAST)
        for bound, sign in ((0.0, "<"), (255.0, ">")):
            limit = _constant(vector, bound)
            rounded = builder.select(builder.fcmp_ordered(sign, rounded, limit, flags=FAST), limit, rounded)
        packed = builder.bitcast(builder.trunc(builder.fptosi(rounded, whole), ir.VectorType(BYTE, 4)), INT32)
        address = builder.gep(_data(context, builder, signature.args[1], args[1]), [args[2]])
        _store(builder, builder.trunc(packed, ir.IntType(16)), address)
        third = builder.gep(address, [ir.Constant(args[2].type, 2)])
        _store(builder, builder.trunc(builder.lshr(packed, ir.Constant(INT32, 16)), BYTE), third)
        return context.get_dummy_value()

    return types.void(LANES4, picture, types.intp), generate
