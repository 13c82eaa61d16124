"""Documents to tokens in stage files, which are the token cache and the checkpoint of a build.

The documents of a block come in, one stage file goes out, named by everything that decides its bytes. It never knows in which order, split
or example the tokens will be used.
"""

from tokenreel.staging.columns import StageInfo as StageInfo
from tokenreel.staging.encoding import encode as encode
from tokenreel.staging.identity import name_of as name_of
from tokenreel.staging.stage_file import StageFile as StageFile
from tokenreel.staging.stage_file import reopen as reopen
from tokenreel.staging.stage_file import write as write
