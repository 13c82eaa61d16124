"""The inner loops of the unit memo, compiled by Numba.

Flat arrays come in and flat arrays go out: bytes of texts, bounds, ids, hash tables, a model's pieces as a trie. No kernel knows a model
file, a vocabulary or a lock, and none raises. Numba compiles them at the first use and keeps the machine code on disk (`compiling`); they
run without Python's lock.

Import a module of this package only inside the function that needs it: Numba takes a third of a second to import, and the first use on a
machine takes half a minute more.

What holds for every kernel:

- Arrays are one-dimensional and C-contiguous, of the dtypes that the decorator lists. A kernel only reads its arguments; the docstring says
  so where it writes to one.
- Texts, pieces and ids lie end to end, with [n + 1] bounds: sequence i is `values[bounds[i] : bounds[i + 1]]`.
- Callers pass the same types always. Each further combination would be compiled anew, so the decorator allows no others.
- No kernel passes arrays to another function in its inner loop. Numba counts references to arrays that are passed, with an atomic operation
  for each, which costs more than the loop's own work. `trie.child` is pasted into its callers for that reason.
- Loops over bytes and units are written out where Python would call a helper or pick an array by a condition, for the same reason.
"""
