"""A stand-in for the Hugging Face Hub on loopback: the part of its HTTP API that a flow's files need.

Repositories with branches, commits of ordinary files and of files in LFS, metadata and downloads. It checks
tokens, the YAML of a card, and that what was promised to LFS has arrived.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, text: str, **more: str) -> None:
        super().__init__(text)
        self.status, self.code, self.more = status, code, more


@dataclass
class Repository:
    """Commits by their id, and branches by the id they stand at."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        text = json.dumps([branch, len(self.commits), sorted(files)]).encode()
        number = hashlib.sha1(text).hexdigest()
        self.commits[number], self.branches[branch] = files, number
        return number

    def at(self, revision: str) -> str:
        found = self.branches.get(revision, revision)
        if found not in self.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found


@dataclass
class Hub:
    """What the server holds, and which requests it has had."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo_id]
        return repository.commits[repository.at(revision)]


class Handler(BaseHTTPRequestHandler):
    """One request; ``hub`` is set on the class that the server is given."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        try:
            headers, content = self._routed(path, body)
            self._send(200, headers, content)
        except Refused as refused:
            text = json.dumps({"error": str(refused), **refused.more}).encode()
            self._send(refused.status, {"X-Error-Code": refused.code, "X-Error-Message": str(refused)}, text)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _routed(self, path: str, body: bytes) -> tuple[dict[str, str], bytes]:
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("POST", r"/api/models/([^/]+/[^/]+)/branch/(.+)", self._branch),
            ("POST", r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self._preupload),
            ("POST", r"/api/models/([^/]+/[^/]+)/commit/(.+)", self._commit),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/lfs/([0-9a-f]{64})", self._store),
            ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            ("GET|HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ]
        for command, pattern, answer in routes:
            found = re.fullmatch(pattern, path)
            if found and re.fullmatch(command, self.command):
                given = answer(body, *found.groups())
                return given if isinstance(given, tuple) else ({}, json.dumps(given).encode())
        raise Refused(404, "", f"the stand-in has no {self.command} {path}")

    def _written(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "", "Invalid username or password.")

    def _repository(self, repo_id: str) -> Repository:
        found = self.hub.repositories.get(repo_id)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not known):
            raise Refused(404 if known else 401, "RepoNotFound", "Repository not found")
        return found

    def _create(self, body: bytes) -> dict[str, Any]:
        self._written()
        asked = json.loads(body)
        repo_id = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if repo_id in self.hub.repositories:
            raise Refused(409, "", "You already created this model repo", url=f"{self.hub.url}/{repo_id}")
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        repository = self.hub.repositories[repo_id] = Repository(private)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return {"url": f"{self.hub.url}/{repo_id}", "name": repo_id}

    def _validate(self, body: bytes) -> dict[str, Any]:
        import yaml

        head = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        values = yaml.safe_load(head[1]) if head else None
        right = isinstance(values, dict) and isinstance(values.get("metrics", []), list)
        return {"warnings": [], "errors": [] if right else [{"message": "no head of YAML"}]}

    def _branch(self, body: bytes, repo_id: str, branch: str) -> dict[str, Any]:
        self._written()
        repository = self._repository(repo_id)
        repository.branches[branch] = repository.branches["main"]
        return {}

    def _preupload(self, body: bytes, repo_id: str, revision: str) -> dict[str, Any]:
        self._written()
        self._repository(repo_id)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return {"files": files}

    def _batch(self, body: bytes, repo_id: str) -> tuple[dict[str, str], bytes]:
        self._written()
        objects = []
        for wanted in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}}
            new = wanted["oid"] not in self.hub.objects
            objects.append({**wanted, "authenticated": True, **({"actions": upload} if new else {})})
        answer = {"transfer": "basic", "objects": objects}
        return {"Content-Type": "application/vnd.git-lfs+json"}, json.dumps(answer).encode()

    def _store(self, body: bytes, oid: str) -> dict[str, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "", "the bytes are not those that were promised")
        self.hub.objects[oid] = body
        return {}

    def _commit(self, body: bytes, repo_id: str, revision: str) -> dict[str, Any]:
        self._written()
        repository = self._repository(repo_id)
        files = dict(repository.commits[repository.at(revision)])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refused(400, "", f"{value['path']} is not in LFS")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        number = repository.commit(revision, files)
        url = f"{self.hub.url}/{repo_id}/commit/{number}"
        return {"success": True, "commitOid": number, "commitUrl": url, "hookOutput": ""}

    def _tree(self, body: bytes, repo_id: str, revision: str) -> list[dict[str, Any]]:
        repository = self._repository(repo_id)
        files = repository.commits[repository.at(revision)]
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]

    def _resolve(self, body: bytes, repo_id: str, revision: str, name: str) -> tuple[dict[str, str], bytes]:
        repository = self._repository(repo_id)
        number = repository.at(revision)
        data = repository.commits[number].get(name)
        if data is None:
            raise Refused(404, "EntryNotFound", f"Entry not found: {name}")
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return {"X-Repo-Commit": number, "ETag": etag, "Accept-Ranges": "none"}, data


@contextmanager
def hub() -> Iterator[Hub]:
    """A running stand-in."""
    held = Hub()
    handler = type("HandlerOfOne", (Handler,), {"hub": held})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
