"""The ways in beside HTTP that are configured, each to be run in a thread of its own.

Belongs here: which there are. Does not belong here: how any of them works (the other intake_*.py).
"""

import threading
from collections.abc import Callable
from typing import Protocol

from commerce_assets.config import Settings
from commerce_assets.events.inbox import Inbox
from commerce_assets.events.intake_folder import FolderIntake
from commerce_assets.events.intake_kafka import KafkaIntake
from commerce_assets.events.intake_pace import BacklogLimit, Pace
from commerce_assets.events.intake_rules import IntakeRules
from commerce_assets.events.intake_sqs import SqsIntake
from commerce_assets.events.metrics import Progress


class Intake(Protocol):
    """A way in that fetches."""

    @property
    def name(self) -> str:
        """Its short name, as in `source` of what it takes."""

    def run(self, stop: threading.Event) -> None:
        """Take events until told to stop; waits and tries again where the other side or the inbox cannot be reached."""


def configured_ways(settings: Settings, inbox: Inbox, rules: IntakeRules, progress: Callable[[], Progress] | None = None) -> list[Intake]:
    """Those with a setting. `FetchError` where a package one needs is not installed; the message says which."""

    def pace() -> Pace:
        return Pace(BacklogLimit(inbox, progress, settings.inbox_backlog_limit)) if progress else Pace()

    ways: list[Intake] = []
    if settings.sqs_queue_url:
        ways.append(SqsIntake(inbox, rules, settings.sqs_queue_url, settings.sqs_endpoint_url, pace()))
    if settings.kafka_brokers:
        ways.append(KafkaIntake(inbox, rules, settings.kafka_brokers, settings.kafka_topic, settings.kafka_group, pace()))
    if settings.events_folder:
        ways.append(FolderIntake(inbox, rules, settings.events_folder, pace()))
    return ways
