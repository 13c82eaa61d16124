"""The CRC32C of what several readers have read: of bytes that lie end to end, from the CRCs of the parts alone."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78  # of CRC32C (Castagnoli), bits reflected: the highest bit is the coefficient of x**0
_ONE = 1 << 31


def _multiply(a: int, b: int) -> int:
    """Multiplies two polynomials over GF(2), modulo that of CRC32C."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _powers() -> tuple[int, ...]:
    """Gives x**(8 * 2**k) for k of 0 to 63: what shifts a remainder by 2**k bytes."""
    found = [_ONE >> 8]
    while len(found) < 64:
        found.append(_multiply(found[-1], found[-1]))
    return tuple(found)


_SHIFTS = _powers()


def combine(first: int, second: int, second_bytes: int) -> int:
    """Gives the CRC32C of two parts end to end, in a time that grows with the logarithm of their length.

    The remainder of the first part is shifted by the bytes of the second: a multiplication by x**(8 * bytes) in GF(2)[x] modulo the
    polynomial of the CRC. The bits that a CRC flips before and after cancel out.

    Args:
      first: CRC32C of the first part.
      second: CRC32C of the second.
      second_bytes: bytes in the second.

    >>> combine(0xE3069283, 0, 0) == 0xE3069283  # that of b"123456789", which nothing follows
    True
    """
    shift, bit = _ONE, 0
    while second_bytes >> bit:
        if second_bytes >> bit & 1:
            shift = _multiply(shift, _SHIFTS[bit])
        bit += 1
    return _multiply(shift, first) ^ second
