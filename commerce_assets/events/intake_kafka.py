"""A Kafka topic as a way in: raw webhook bodies as values, Shopify's headers as the messages' headers.

Belongs here: consuming, and committing offsets. Does not belong here: what a delivery must be.

Offsets are committed only after the inbox has the messages; after a failure the consumer starts anew from what is committed, and what
comes again is a duplicate. A signature is checked where a message has one; without one, who may write to the topic is trusted. What is
refused is counted and logged with its partition and offset, where it can be read again. Needs the extra `events-kafka`.
"""

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from commerce_assets.events.inbox import Inbox, Rejection
from commerce_assets.events.intake_pace import FetchError, Pace
from commerce_assets.events.intake_rules import SIGNATURE, IntakeRules, RefusedError, rejection
from commerce_assets.events.records import Delivery

MESSAGES_A_GROUP = 500
POLL_SECONDS = 0.5
_log = logging.getLogger(__name__)


class KafkaIntake:
    """Takes a topic's messages into the inbox, as one of a consumer group. `FetchError` where confluent-kafka is not installed."""

    name = "kafka"

    def __init__(
        self,
        inbox: Inbox,
        rules: IntakeRules,
        brokers: str,
        topic: str,
        group: str,
        pace: Pace | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """`config`: further settings of librdkafka, such as those for TLS and SASL."""
        self._inbox = inbox
        self._rules = rules
        self._topic = topic
        self._pace = pace or Pace()
        self._config = {
            "bootstrap.servers": brokers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **(config or {}),
        }
        _kafka()

    def run(self, stop: threading.Event) -> None:
        """Take messages until told to stop."""
        while not stop.is_set():
            self._pace.attempt(self.name, self._consume, stop)

    def _consume(self, stop: threading.Event) -> None:
        """With one consumer, until told to stop or something fails."""
        kafka, consumer = _kafka(), None
        try:
            consumer = kafka.Consumer(self._config, logger=_log)
            consumer.subscribe([self._topic])
            while not stop.is_set():
                self._pace.wait_for_room(stop)
                self._take(consumer.consume(MESSAGES_A_GROUP, POLL_SECONDS), consumer)
        except kafka.KafkaException as error:
            raise FetchError(f"Kafka does not answer as it should ({_code(error)}); check COMMERCE_KAFKA_BROKERS and the topic") from None
        finally:
            if consumer is not None:
                consumer.close()

    def _take(self, messages: list[Any], consumer: Any) -> None:
        deliveries: list[Delivery] = []
        rejections: list[Rejection] = []
        received_at = datetime.now(UTC)
        offsets: dict[int, int] = {}
        for message in messages:
            if message.error() is not None:
                raise _kafka().KafkaException(message.error())
            offsets[message.partition()] = message.offset() + 1
            headers = _headers(message)
            try:
                deliveries.append(self._delivery(message, headers, received_at))
            except RefusedError as error:
                rejections.append(rejection("kafka", headers, error.reason, received_at))
                _log.warning(
                    "refused (%s): topic %s, partition %d, offset %d", error.reason, self._topic, message.partition(), message.offset()
                )
        self._inbox.append(deliveries, rejections)
        if offsets:
            positions = [_kafka().TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
            consumer.commit(offsets=positions, asynchronous=False)

    def _delivery(self, message: Any, headers: dict[str, str], received_at: datetime) -> Delivery:
        body = message.value()
        if body is None:
            raise RefusedError(400, "no_body", "the message has no value")
        if SIGNATURE in headers:
            self._rules.check_signature(headers, body)
        position = f"kafka:{self._topic}:{message.partition()}:{message.offset()}"
        return self._rules.delivery("kafka", headers, body, received_at, position)


def _headers(message: Any) -> dict[str, str]:
    return {name.lower(): value.decode("latin-1") for name, value in message.headers() or () if isinstance(value, bytes)}


def _kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError:
        raise FetchError("Kafka is configured, but confluent-kafka is not installed; install commerce-assets[events-kafka]") from None
    return confluent_kafka


def _code(error: Any) -> str:
    return str(error.args[0].name()) if error.args and hasattr(error.args[0], "name") else type(error).__name__
