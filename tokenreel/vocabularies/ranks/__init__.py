"""Tokenizers that are files of ranks: tiktoken's, and tekken.

Pieces and their ranks come in, and the ids that tiktoken would give go out. No piece is spelled by letters here: pieces are bytes, and the
names of added tokens stand apart from them.
"""
