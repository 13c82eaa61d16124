"""Raw files to documents and faults.

Paths and globs come in; blocks, documents with their names, and a fault for all that cannot be read go out. It never leaves out a file or a
document in silence, and knows no tokens.
"""

from tokenreel.sources.blocks import list_blocks as list_blocks
from tokenreel.sources.documents import Documents as Documents
from tokenreel.sources.fault_log import Fault as Fault
from tokenreel.sources.inputs import Block as Block
from tokenreel.sources.inputs import InputFile as InputFile
from tokenreel.sources.listing import list_files as list_files
from tokenreel.sources.reading import read_documents as read_documents
