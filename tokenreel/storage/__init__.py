"""Bytes on a disk or in a bucket.

Paths come in, local or `gs://`; bytes, sizes, checksums, locks and files that appear complete or not at all go out. It never knows what the
bytes mean.
"""

from tokenreel.storage.files import checksum as checksum
from tokenreel.storage.files import is_remote as is_remote
from tokenreel.storage.files import join as join
from tokenreel.storage.files import list_files as list_files
from tokenreel.storage.files import open_read as open_read
from tokenreel.storage.files import read_bytes as read_bytes
from tokenreel.storage.files import remove as remove
from tokenreel.storage.files import size as size
from tokenreel.storage.files import write_atomic as write_atomic
from tokenreel.storage.files import write_bytes as write_bytes
from tokenreel.storage.locking import lock as lock
