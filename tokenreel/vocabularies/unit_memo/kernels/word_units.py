"""Cuts texts into units of words, spells units as the library's normaliser and pre-tokenizer do, and gathers what they became.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import BOOL, I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.cutting import character_at
from tokenreel.vocabularies.unit_memo.kernels.hashing import BYTE, FNV_PRIME, FNV_SEED, SHORT, hash_unit

# Classes of characters: of words, between words, words by themselves, words together with their like, what is never cut from what stands
# before it and only from spaces behind it, what is not even cut from these, and what is not known yet.
WORD, SPACE, ALONE, LIKE, GLUED, STICKY, UNSEEN = range(7)
CLASSES = 7
# Flags of units: they begin a part of a document, or the document itself, end a part, or are a token by themselves.
BEGINS, FIRST, ENDS, TOKEN = 1, 2, 4, 8
BOUND = 0xFF  # in what is written for a character: the end of a word
ANYWHERE, ONE, JOINED, EACH = range(4)  # spaces of units, for `spell`
# In place of what is written for a character: only the library knows; itself; itself, where words end before and behind it; the jamo of
# a Hangul syllable (section 3.12 of the Unicode Standard).
HARD, ITSELF, APART, JAMO = -1, -2, -3, -4
SYLLABLES, LEADS, VOWELS, FINALS = 0xAC00, 0x1100, 0x1161, 0x11A7  # the first of each; the last of these is none
VOWEL_COUNT, FINAL_COUNT = 21, 28
# What becomes of a unit at the front of a text: bits of what only the library knows, and whether a written space is put before it.
HARD_AT_SPACE, HARD_AT_OTHERS, PREFIXED = 1, 2, 4
FLAGS = 16  # numbers that flags of units make
SPACE_BYTES = tuple("▁".encode())


@njit(nogil=True, inline="always")
def hash_of(text, begin, end, flag):
    """Hashes a unit; pasted into the caller, like `trie.child`."""
    word, value = np.uint64(0), FNV_SEED
    for i in range(begin, end):
        word = word << BYTE | np.uint64(text[i])
    if end - begin > SHORT:
        for i in range(begin, end):
            value = (value ^ np.uint64(text[i])) * FNV_PRIME
    return hash_unit(end - begin, word, value, np.uint64(flag))


@kernel((U8, I64, I32, U8, U8, types.uint8, BOOL, types.boolean))
def cut_words(text, bounds, tokens, flags, classes, ends, allowed, splits_runs):
    """Cuts parts of documents into units.

    Args:
      text: [bytes] uint8, parts end to end, valid UTF-8; the first begins at 0.
      bounds: [n + 1] int64.
      tokens: [n] int32 the id that a part is, or -1; may be empty where all are -1.
      flags: [n] uint8 flags of the first unit of each part.
      classes: [code points] uint8.
      ends: uint8 the flag of the last unit of each part.
      allowed: [CLASSES * CLASSES] bool whether a text is cut between a character of one class (slower index) and one of another.
      splits_runs: whether it is cut before the last of several spaces.

    Returns:
      [units + 1] int32 bounds in bytes, and likewise in characters, [n + 1] int64 the first unit of each part, [units] uint64 hashes,
      [units] uint8 flags, and whether a character is of no class yet: it ends there, and the other results mean nothing.
    """
    room = len(text) + 1
    out, characters, first = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(len(bounds), np.int64)
    hashes, out_flags = np.empty(room, np.uint64), np.empty(room, np.uint8)
    unit, unseen, count, part = np.int64(0), False, np.int32(0), np.int64(0)
    out[0] = characters[0] = 0
    while part < len(bounds) - 1 and not unseen:
        first[part] = unit
        begin, i, end = bounds[part], bounds[part], bounds[part + 1]
        part += 1
        if begin == end:
            continue
        flag = flags[part - 1]
        before, before_count, last = i, count, np.int64(STICKY)
        if len(tokens) and tokens[part - 1] >= 0:
            flag = np.uint8(TOKEN)
            while i < end:
                count += np.int32(text[i] & 0xC0 != 0x80)
                i += 1
        while i < end:
            character, size = np.int64(text[i]), np.int64(1)
            if character >= 0x80:
                character, size = character_at(text, i)
            this = np.int64(classes[character])
            if this == UNSEEN:
                unseen = True
                break
            count += np.int32(1)
            stop, stop_count = np.int64(-1), count - np.int32(1)
            if i > begin:
                if allowed[last * CLASSES + this]:
                    stop = i
                elif splits_runs and last == SPACE and before > begin and this in (WORD, ALONE, LIKE):
                    stop, stop_count = before, before_count
            if stop >= 0:
                hashes[unit], out_flags[unit] = hash_of(text, begin, stop, flag), flag
                unit += 1
                out[unit], characters[unit] = stop, stop_count
                begin = stop
                flag = np.uint8(0)
            before, before_count, last = i, count - np.int32(1), this
            i += size
        if flag != TOKEN:
            flag |= ends
        hashes[unit], out_flags[unit] = hash_of(text, begin, end, flag), flag
        unit += 1
        out[unit], characters[unit] = end, count
    first[-1] = unit
    return out[: unit + 1].copy(), characters[: unit + 1].copy(), first, hashes[:unit].copy(), out_flags[:unit].copy(), unseen


@kernel((U8, U8, types.int64))
def unseen_characters(text, classes, most):
    """Lists the characters of a text that are of no class yet, until they are more than `most`: [k] int32, and how often each came."""
    size = 1 << 10
    while size < 4 * (min(most, len(text)) + 1):
        size *= 2
    places, found, counts = np.full(size, -1, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    mask, count, i = np.uint64(size - 1), np.int32(0), np.int64(0)
    while i < len(text) and count <= most:
        character, width = np.int64(text[i]), np.int64(1)
        if character >= 0x80:
            character, width = character_at(text, i)
        i += width
        if classes[character] != UNSEEN:
            continue
        place = np.uint64(character) & mask  # code points that come together hardly ever share a place
        while places[place] >= 0 and found[places[place]] != character:
            place = (place + np.uint64(1)) & mask
        if places[place] < 0:
            places[place] = count
            found[count], counts[count] = character, 0
            count += np.int32(1)
        counts[places[place]] += 1
    return found[:count].copy(), counts[:count].copy()


@kernel((U8, I64, U8))
def has_unseen(text, bounds, classes):
    """Tells which documents ([n + 1] int64 bounds) have a character of no class yet: [n] bool."""
    out = np.zeros(len(bounds) - 1, np.bool_)
    for document in range(len(out)):
        i = bounds[document]
        while i < bounds[document + 1] and not out[document]:
            character, width = np.int64(text[i]), np.int64(1)
            if character >= 0x80:
                character, width = character_at(text, i)
            out[document] = classes[character] == UNSEEN
            i += width
    return out


@kernel((U8, I32, I32, U8, U8, I32, U8, I64, types.int64, types.boolean, U8, types.int64))
def spell(text, bounds, units, flags, classes, rows, letters, letter_bounds, spaces, moves_space, fronts, ruled):
    """Writes units as the words that a normaliser and a pre-tokenizer make of them, where both go by each character alone.

    Args:
      text: [bytes] uint8, as for `cut_words`.
      bounds: [units + 1] int32, of `cut_words`.
      units: [k] int32, which ones.
      flags: [units] uint8, of `cut_words`.
      classes: [code points] uint8; between one that is `LIKE` and one that is not, words end.
      rows: [code points] int32 what is written for each, or one of the numbers above.
      letters: uint8, what is written, end to end, with `BOUND` where words end.
      letter_bounds: [rows + 1] int64.
      spaces: `ANYWHERE`, or units are hard that have spaces elsewhere than at their fronts: `ONE` of them, several that are
        `JOINED` to one, or that are words, `EACH` by itself.
      moves_space: whether what is written for a space comes of the character behind it.
      fronts: [FLAGS] uint8, unless spaces are anywhere: what becomes of a unit with these flags, by whether it begins with a space.
      ruled: units are hard in which a `GLUED` character and the one before it have fewer bytes together: there may be a rule for both.

    Returns:
      [bytes] uint8 words end to end, [bytes] int32 the character of the unit that each byte was written for, [words + 1] int64 bounds,
      [k + 1] int64 the first word of each unit, and [k] bool which units are hard, and have no words.
    """
    total = np.int64(0)
    for k in range(len(units)):
        for i in range(bounds[units[k]], bounds[units[k] + 1]):
            total += text[i] & 0xC0 != 0x80
    widest = np.int64(9)
    for i in range(len(letter_bounds) - 1):
        widest = max(widest, letter_bounds[i + 1] - letter_bounds[i])
    widest += len(SPACE_BYTES)  # which may be put before it
    room = total * min(widest, 4) + widest
    out, sources = np.empty(room, np.uint8), np.empty(room, np.int32)
    word_bounds, first, hard = np.empty(room + 1, np.int64), np.empty(len(units) + 1, np.int64), np.zeros(len(units), np.bool_)
    at = word = np.int64(0)
    word_bounds[0] = 0
    for k in range(len(units)):
        first[k] = word
        i, end = np.int64(bounds[units[k]]), np.int64(bounds[units[k] + 1])
        source, start, was_like = np.int32(0), at, False
        before = ruled  # bytes of the character before, as many as no rule has where there is none
        while i < end:
            character, size = np.int64(text[i]), np.int64(1)
            if character >= 0x80:
                character, size = character_at(text, i)
            row, is_space = rows[character], classes[character] == SPACE
            has_rules = classes[character] == GLUED and before + size < ruled
            if row == HARD or has_rules or (spaces != ANYWHERE and is_space and i + size == end):
                hard[k] = True
                break
            before = size
            if spaces != ANYWHERE and spaces != EACH and is_space and source > 0:
                if spaces == ONE or at > start + 3:  # longer than a written space
                    hard[k] = True
                    break
                sources[start:at] = source + np.int32(moves_space)
                source += 1
                i += size
                continue
            if at + widest > room:
                room *= 2
                more, more_sources, more_bounds = np.empty(room, np.uint8), np.empty(room, np.int32), np.empty(room + 1, np.int64)
                more[:at], more_sources[:at], more_bounds[: word + 1] = out[:at], sources[:at], word_bounds[: word + 1]
                out, sources, word_bounds = more, more_sources, more_bounds
            if spaces != ANYWHERE and source == 0:
                front = fronts[flags[units[k]]]
                if front & (HARD_AT_SPACE if is_space else HARD_AT_OTHERS):
                    hard[k] = True
                    break
                if front & PREFIXED and not is_space:
                    for byte in SPACE_BYTES:
                        out[at], sources[at] = byte, source
                        at += 1
            if row <= ITSELF:
                if (was_like or row == APART) and at > word_bounds[word]:
                    word += 1
                    word_bounds[word] = at
                was_like = False
                if row == JAMO:
                    pair, final = divmod(character - SYLLABLES, FINAL_COUNT)
                    for jamo in (LEADS + pair // VOWEL_COUNT, VOWELS + pair % VOWEL_COUNT, FINALS + final):
                        if jamo != FINALS:
                            out[at], out[at + 1], out[at + 2] = 0xE1, 0x80 | jamo >> 6 & 0x3F, 0x80 | jamo & 0x3F
                            sources[at : at + 3] = source
                            at += 3
                else:
                    for j in range(i, i + size):
                        out[at], sources[at] = text[j], source
                        at += 1
                if row == APART:
                    word += 1
                    word_bounds[word] = at
                source += 1
                i += size
                continue
            if letter_bounds[row + 1] > letter_bounds[row]:
                is_like = classes[character] == LIKE
                if is_like != was_like and at > word_bounds[word]:
                    word += 1
                    word_bounds[word] = at
                was_like = is_like
            for j in range(letter_bounds[row], letter_bounds[row + 1]):
                if letters[j] != BOUND:
                    out[at], sources[at] = letters[j], source + np.int32(moves_space and is_space)
                    at += 1
                elif at > word_bounds[word]:
                    word += 1
                    word_bounds[word] = at
            source += 1
            i += size
        if hard[k]:
            at, word = start, first[k]
        elif at > word_bounds[word]:
            word += 1
            word_bounds[word] = at
    first[-1] = word
    return out[:at].copy(), sources[:at].copy(), word_bounds[: word + 1].copy(), first, hard


@kernel((I32, I64, I32, I32, I64, I32, I64, I64, I64, types.int32[::1], types.int32[::1], types.int32[::1]))
def gather_spans(entries, first, characters, known, known_bounds, new, new_bounds, documents, out_bounds, ids, begins, ends):
    """Writes the ids of the units of some documents, and the characters that they stand for.

    Args:
      entries: [units] int32, of `units.find_units`.
      first: [n + 1] int64 the first unit of each document.
      characters: [units + 1] int32, of `cut_words`.
      known: int32 id, first and last character within the unit of each token of known units, end to end.
      known_bounds: [entries + 1] int64 bounds of these numbers.
      new: int32, likewise of new units.
      new_bounds: [new + 1] int64.
      documents: [k] int64, which ones.
      out_bounds: [n + 1] int64 where the ids of each document begin.
      ids: int32, written to.
      begins: int32, written to: characters of the document.
      ends: int32, written to.
    """
    for document in documents:
        at, begin = out_bounds[document], characters[first[document]]
        for unit in range(first[document], first[document + 1]):
            entry, before = entries[unit], characters[unit] - begin
            if entry >= 0:
                for i in range(known_bounds[entry], known_bounds[entry + 1], 3):
                    ids[at], begins[at], ends[at] = known[i], known[i + 1] + before, known[i + 2] + before
                    at += 1
            else:
                for i in range(new_bounds[-1 - entry], new_bounds[-entry], 3):
                    ids[at], begins[at], ends[at] = new[i], new[i + 1] + before, new[i + 2] + before
                    at += 1
