"""SentencePiece models as vocabularies.

A .model file and blocks of text come in, and ids, spans in the text and drawn segmentations go out. It never writes a model, and never
reads one with the library's generated protobuf module, which clashes with those of other packages.
"""
