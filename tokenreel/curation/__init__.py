"""Which documents, and which of their lines, stay: filters, duplicates, sentences.

Documents of a block come in, those that stay go out with a reason for each that does not. It never changes a dataset's order, and never
forgets what it removed.
"""

from tokenreel.curation.cleaned import Cleaned as Cleaned
from tokenreel.curation.filters import Rules as Rules
from tokenreel.curation.filters import clean as clean
from tokenreel.curation.filters import load_rules as load_rules
from tokenreel.curation.hash_tables import HashTable as HashTable
