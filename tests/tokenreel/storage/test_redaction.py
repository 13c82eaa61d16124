import pytest

from tokenreel.storage.redaction import REDACTED, redact

SECRET = "sEcReT0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://storage.example/b/o?X-Goog-Algorithm=A&X-Goog-Signature={SECRET} failed",
        f"PUT https://storage.example/upload?uploadType=resumable&upload_id={SECRET}: 503",
        f"https://user:{SECRET}@registry.example/simple",
        f"Authorization: Bearer {SECRET}",
        f"ya29.{SECRET}",
        f"hf_{SECRET}{SECRET}",
        f'{{"access_token": "{SECRET}", "token_type": "x"}}',
        f"client_secret={SECRET}&x=1",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
        f"gs://bucket/object?generation=1&signature={SECRET}",
        f"upload_id={SECRET}",
    ],
)
def test_secrets_go(text):
    assert SECRET not in redact(text)
    assert REDACTED in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "gs://bucket/a/b*.jsonl: no file matches",
        "https://example.org/docs",
        "5 tokens of 17 = 3 + 2",
        "gs://bucket/part-?.gz",
        "signature line",
    ],
)
def test_the_rest_stays(text):
    assert redact(text) == text
