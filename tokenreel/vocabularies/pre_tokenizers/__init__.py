"""Where a text is cut before its parts are encoded.

The steps of a `tokenizer.json`, or the pattern of a file of ranks, come in, and an automaton goes out that reads a text once and finds the
same cuts as the library's regular expressions. What it does not recognise it refuses with a reason, and the library works in its place.
"""
