"""Stand-ins on the loopback address for what a launch on Dataflow talks to: the metadata server, storage, and the service."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipelines.templates import launching
from tests import buckets
from tokenreel.storage import files

PROJECT, REGION = "some-project", "us-central1"
IMAGE = f"us-central1-docker.pkg.dev/{PROJECT}/images/tokenreel:1"
ROOT = f"gs://{buckets.BUCKET}"
TEMPORARY = f"{ROOT}/temporary"


@dataclasses.dataclass
class Service:
    """Dataflow, as far as a launcher sees it: it takes jobs, and says that they run.

    Attributes:
      port: on the loopback address.
      jobs: what was posted.
    """

    port: int = 0
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def identity(self, number: int) -> str:
        return f"2026-11-30_00_00_00-{number}"

    def launch(self, *parameters: str, template: bool = False, name: str = "books") -> int:
        """Starts the program of the image as the launcher does; returns its exit code.

        Args:
          *parameters: of the job, as `name=value`.
          template: whether the program is told to write the job to a file, which the launcher then posts.
          name: of the job.
        """
        where = f"{TEMPORARY}/staging/template_launches/{self.identity(len(self.jobs))}/job_object"
        given = [*self.parameters(*parameters, name=name), *([f"template_location={where}"] if template else [])]
        code = launching.main([f"--{parameter}" for parameter in given])
        if template and code == 0 and files.size(where) is not None:
            self.jobs.append(json.loads(files.read_bytes(where)))
        return code

    def parameters(self, *parameters: str, name: str = "books") -> list[str]:
        """Adds to the parameters of a job what the launcher says of itself, as `name=value`."""
        return [
            *parameters,
            "runner=DataflowRunner",
            f"project={PROJECT}",
            f"region={REGION}",
            f"job_name={name}",
            f"temp_location={TEMPORARY}",
            f"staging_location={TEMPORARY}/staging",
            f"dataflow_endpoint=http://localhost:{self.port}",
        ]

    def pipeline(self, number: int = -1) -> beam_runner_api_pb2.Pipeline:
        """Takes the pipeline of a job out of storage, and its artifacts, whose digests are compared."""
        options = self.jobs[number]["environment"]["sdkPipelineOptions"]["options"]
        data = files.read_bytes(options["pipelineUrl"])
        found = beam_runner_api_pb2.Pipeline.FromString(data)
        for environment in found.components.environments.values():
            for artifact in environment.dependencies:
                assert artifact.type_urn == common_urns.artifact_types.URL.urn
                payload = beam_runner_api_pb2.ArtifactUrlPayload.FromString(artifact.type_payload)
                assert hashlib.sha256(files.read_bytes(payload.url)).hexdigest() == payload.sha256
        return found

    def images(self, number: int = -1) -> set[str]:
        """The images of the workers of a job."""
        payloads = [environment.payload for environment in self.pipeline(number).components.environments.values()]
        return {beam_runner_api_pb2.DockerPayload.FromString(payload).container_image for payload in payloads}

    def execute(self, number: int = -1, repeat: int = 0) -> None:
        """Runs the pipeline of a job as it was staged, with workers in this process in place of containers.

        Args:
          number: of the job.
          repeat: how many times more each bundle is processed, as the service does with work whose worker it believes to be lost.
        """
        pipeline = self.pipeline(number)
        for environment in pipeline.components.environments.values():
            environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
            del environment.dependencies[:]
        FnApiRunner(bundle_repeat=repeat).run_via_runner_api(pipeline, PipelineOptions(["--direct_num_workers=1"]))


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, service: Service, *arguments: Any) -> None:
        self.service = service
        super().__init__(*arguments)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/text" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if "/token" in self.path:
            self._answer({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"})
        elif "/service-accounts/" in self.path:
            self._answer({"email": "account@example.com", "scopes": ["https://www.googleapis.com/auth/cloud-platform"], "aliases": []})
        elif "/universe" in self.path:
            self._answer("googleapis.com")
        elif "/computeMetadata/" in self.path:
            self._answer(PROJECT)
        else:
            self._answer({"id": self.path.rpartition("/")[2].partition("?")[0], "currentState": "JOB_STATE_RUNNING"})

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert f"/projects/{PROJECT}/locations/{REGION}/jobs" in self.path, self.path
        self.service.jobs.append(job)
        identity = self.service.identity(len(self.service.jobs) - 1)
        self._answer({"id": identity, "name": job["name"], "clientRequestId": job.get("clientRequestId", "")})


@contextlib.contextmanager
def dataflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Runs the stand-ins, with an empty bucket gs://bucket."""
    service = Service()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *arguments: _Handler(service, *arguments))
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, f"127.0.0.1:{service.port}")
    monkeypatch.setenv(launching.IMAGE, IMAGE)
    # The server of the bucket serves one connection at a time, and two libraries would keep theirs open.
    monkeypatch.setattr(buckets._Handler, "protocol_version", "HTTP/1.0")
    try:
        with buckets.server():
            yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(path: pathlib.Path) -> None:
    """Puts a file into the bucket, under its name."""
    files.write_bytes(f"{ROOT}/{path.name}", path.read_bytes())
