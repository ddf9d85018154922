"""`stagedUploadsCreate`, and where what is then uploaded is kept.

A target is a multipart POST to the sandbox itself; its `key` parameter is the path by which `bulkOperationRunMutation`
asks for the file.
"""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from commerce_assets.sandbox.context import Context
from commerce_assets.sandbox.documents import gid_number
from commerce_assets.sandbox.mutations._shared import Rejected, mutation, user_error

UPLOAD_LIMIT_BYTES = 100 * 1024 * 1024
ROUTE = "/staged-uploads/"
FOLDER = "staged"
KEY = re.compile(r"tmp/\d+/bulk/(?P<ticket>[0-9a-f-]{36})/(?P<name>[^/\\]{1,255})$")
BULK = "BULK_MUTATION_VARIABLES"


class UploadRefused(Exception):
    """An upload with a key that was never given out, or too large a file."""


def staged_file(store_dir: Path, key: str) -> Path | None:
    """The file uploaded under a key; None where there is none."""
    match = KEY.match(key)
    if match is None or match["name"] in (".", ".."):
        return None
    path = store_dir / FOLDER / match["ticket"] / match["name"]
    return path if path.is_file() else None


def accept_staged_upload(store_dir: Path, key: str, fileobj: BinaryIO) -> Path:
    """Keep what was posted under `key` (which `stagedUploadsCreate` gave out); `UploadRefused` otherwise."""
    match = KEY.match(key)
    folder = store_dir / FOLDER / match["ticket"] if match else None
    if match is None or folder is None or not folder.is_dir() or match["name"] in (".", ".."):
        raise UploadRefused(f"no upload was prepared under key {key!r}")
    unfinished = folder / f".{uuid.uuid4()}"
    with unfinished.open("wb") as out:
        shutil.copyfileobj(fileobj, out, 1 << 20)
        size = out.tell()
    if size > UPLOAD_LIMIT_BYTES:
        unfinished.unlink()
        raise UploadRefused(f"{size} bytes are more than the {UPLOAD_LIMIT_BYTES} that an upload may have")
    return unfinished.rename(folder / match["name"])


@mutation
def staged_uploads_create(ctx: Context, args: dict[str, Any]) -> dict[str, Any]:
    """Prepare uploads: where to post, and with which form fields."""
    targets, errors = [], []
    for index, wanted in enumerate(args["input"]):
        name = Path(wanted["filename"].replace("\\", "/")).name
        if not name.strip() or name in (".", ".."):
            errors.append(user_error(["input", index, "filename"], "Filename can't be blank"))
            continue
        if wanted["resource"] == BULK and (wanted.get("httpMethod") or "PUT") != "POST":
            errors.append(user_error(["input", index, "httpMethod"], "Bulk mutation variables are uploaded by POST"))
            continue
        targets.append(_target(ctx, name, wanted))
    if errors:
        raise Rejected(errors, stagedTargets=None)
    return {"stagedTargets": targets}


def _target(ctx: Context, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    ticket = str(uuid.uuid4())
    (ctx.store.folder / FOLDER / ticket).mkdir(parents=True)
    key = f"tmp/{gid_number(ctx.shop['id'])}/bulk/{ticket}/{name}"
    moment = ctx.clock().strftime("%Y%m%dT%H%M%SZ")
    url = f"{ctx.base_url}{ROUTE}"
    fields = {
        "Content-Type": wanted["mimeType"],
        "success_action_status": "201",
        "acl": "private",
        "key": key,
        "x-goog-date": moment,
        "x-goog-credential": f"sandbox/{moment[:8]}/auto/storage/goog4_request",
        "x-goog-algorithm": "GOOG4-RSA-SHA256",
        "x-goog-signature": uuid.uuid5(uuid.NAMESPACE_URL, key).hex,
        "policy": uuid.uuid5(uuid.NAMESPACE_URL, ticket).hex,
    }
    return {"url": url, "resourceUrl": url, "parameters": [{"name": field, "value": value} for field, value in fields.items()]}
