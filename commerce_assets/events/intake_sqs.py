"""An Amazon SQS queue that EventBridge feeds as a way in (Shopify as a partner event source).

Belongs here: receiving, unwrapping EventBridge's envelope, deleting what is stored. Does not belong here: what a delivery must be.

A message is deleted only after the inbox has it; until then the queue brings it again. Who may write to the queue is Amazon's matter
(IAM); the signature in the envelope is over bytes that EventBridge has not kept, and is not looked at. What is refused is counted and left
in the queue, for its redrive policy to move to the queue's own dead letters. Needs the extra `events-sqs`.
"""

import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from commerce_assets.events.inbox import Inbox, Rejection
from commerce_assets.events.intake_json import members
from commerce_assets.events.intake_pace import FetchError, Pace
from commerce_assets.events.intake_rules import IntakeRules, RefusedError, rejection
from commerce_assets.events.records import Delivery

MESSAGES_A_CALL = 10  # the most that SQS gives
CALLS_A_GROUP = 20
WAIT_SECONDS = 5
_DEFAULT_REGION = "us-east-1"


class SqsIntake:
    """Takes a queue's messages into the inbox. `FetchError` where boto3 is not installed."""

    name = "sqs"

    def __init__(self, inbox: Inbox, rules: IntakeRules, queue_url: str, endpoint_url: str | None = None, pace: Pace | None = None) -> None:
        self._inbox = inbox
        self._rules = rules
        self._queue_url = queue_url
        self._pace = pace or Pace()
        self._client = _client(queue_url, endpoint_url)

    def run(self, stop: threading.Event) -> None:
        """Take messages until told to stop."""
        while not stop.is_set():
            self._pace.attempt(self.name, self._take, stop)

    def _take(self, stop: threading.Event) -> None:
        self._pace.wait_for_room(stop)
        if not stop.is_set():
            self.take_messages(WAIT_SECONDS)

    def take_messages(self, wait_seconds: int = 0) -> int:
        """Take a group of messages, waiting for the first if there is none; how many were new. `FetchError`, `InboxError`: all stay queued."""
        received: dict[str, dict[str, Any]] = {}
        for call in range(CALLS_A_GROUP):
            before = len(received)
            for message in self._receive(0 if call else wait_seconds):
                received.setdefault(message["MessageId"], message)
            if len(received) == before:
                break
        deliveries: list[Delivery] = []
        rejections: list[Rejection] = []
        taken: list[dict[str, Any]] = []
        received_at = datetime.now(UTC)
        for message in received.values():
            headers: dict[str, str] = {}
            try:
                headers, body, event_id = _unwrapped(message["Body"])
                deliveries.append(self._rules.delivery("sqs", headers, body, received_at, event_id or f"sqs:{message['MessageId']}"))
                taken.append(message)
            except RefusedError as error:
                if message.get("Attributes", {}).get("ApproximateReceiveCount") == "1":
                    rejections.append(rejection("sqs", headers, error.reason, received_at))
        new = sum(self._inbox.append(deliveries, rejections))
        self._delete(taken)
        return new

    def _receive(self, wait_seconds: int) -> list[dict[str, Any]]:
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=MESSAGES_A_CALL,
            WaitTimeSeconds=wait_seconds,
            AttributeNames=["ApproximateReceiveCount"],
        )
        return list(answer.get("Messages", ()))

    def _delete(self, messages: list[dict[str, Any]]) -> None:
        """What cannot be deleted comes again, as a duplicate."""
        for start in range(0, len(messages), MESSAGES_A_CALL):
            some = messages[start : start + MESSAGES_A_CALL]
            entries = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(some)]
            self._call("delete_message_batch", Entries=entries)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, method)(QueueUrl=self._queue_url, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise FetchError(f"Amazon SQS refused {method} ({code}); check COMMERCE_SQS_QUEUE_URL and the credentials' rights") from None
        except BotoCoreError as error:
            raise FetchError(f"Amazon SQS cannot be reached ({type(error).__name__}); check the network and the credentials") from None
        return answer


def _unwrapped(text: str) -> tuple[dict[str, str], bytes, str | None]:
    """(headers in lower case, payload as it is written in the envelope, the envelope's own id)."""
    try:
        envelope = members(text)
        detail = members(envelope["detail"])
        metadata, payload = orjson.loads(detail["metadata"]), detail["payload"]
        body = orjson.loads(payload).encode() if payload.startswith('"') else payload.encode()
        event_id = orjson.loads(envelope.get("id", "null"))
        headers = {name.lower(): value for name, value in metadata.items() if isinstance(value, str)}
    except (ValueError, KeyError, AttributeError):
        raise RefusedError(400, "not_an_envelope", "the message is not an event of EventBridge") from None
    return headers, body, f"eventbridge:{event_id}" if isinstance(event_id, str) else None


def _client(queue_url: str, endpoint_url: str | None) -> Any:
    try:
        import boto3
    except ImportError:
        raise FetchError("a queue is configured, but boto3 is not installed; install commerce-assets[events-sqs]") from None
    host = urlsplit(queue_url).hostname or ""
    region = host.split(".")[1] if host.startswith("sqs.") and host.endswith(".amazonaws.com") else None
    session = boto3.session.Session()
    return session.client("sqs", region_name=region or session.region_name or _DEFAULT_REGION, endpoint_url=endpoint_url)
