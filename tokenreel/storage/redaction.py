"""Taking secrets out of texts that are shown or kept: signatures and tokens in addresses, headers and messages."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

# The query of an address: signed URLs carry their signature in it, resumable uploads the handle that lets anyone write.
# In gs:// a question mark is a wildcard, unless an assignment follows.
_QUERY = re.compile(r"(https?://[^\s?'\"<>]*\?|gs://[^\s?'\"<>]*\?(?=[\w.-]+=))[^\s'\"<>]+", re.IGNORECASE)
_USER = re.compile(r"(https?://)[^/\s@'\"]+@", re.IGNORECASE)  # user:password@host

_PARAMETER = re.compile(
    r"\b((?:x-goog-|x-amz-)?(?:signature|credential|security-token)|access_token|refresh_token|id_token|upload_id|client_secret|private_key"
    r"|api_key|password|sig)(\"?\s*[=:]\s*\"?)[^\s&,;'\"]+",
    re.IGNORECASE,
)

_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)

_TOKEN = re.compile(
    r"\bya29\.[A-Za-z0-9._-]+|\bhf_[A-Za-z0-9]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def redact(text: object) -> str:
    """Takes out of a text what grants access.

    >>> redact("PUT https://storage.example/b/o?uploadType=resumable&upload_id=AB12 failed")
    'PUT https://storage.example/b/o?[redacted] failed'
    >>> redact("Authorization: Bearer ya29.a0AfB_by")
    'Authorization: Bearer [redacted]'
    """
    found = _QUERY.sub(rf"\1{REDACTED}", str(text))
    found = _USER.sub(rf"\1{REDACTED}@", found)
    found = _BEARER.sub(rf"\1 {REDACTED}", found)
    found = _TOKEN.sub(REDACTED, found)
    return _PARAMETER.sub(rf"\1\2{REDACTED}", found)
