"""A word to people when something waits for them: a JSON `{"text": …}` to the address that the settings name (Slack, Teams and Mattermost take it).

Best effort, briefly: an alert that cannot be told fails nothing, for the run and its check say the same. The text holds names and counts, never
a value; the address is a secret and in no message.
"""

import logging

import httpx

from commerce_assets.config import Settings

TIMEOUT_SECONDS = 5.0
_log = logging.getLogger(__name__)


def alert(settings: Settings, text: str) -> bool:
    """Tell it; False where no address is set, or nobody took it."""
    if settings.alert_url is None:
        return False
    try:
        answer = httpx.post(settings.alert_url.get_secret_value(), json={"text": text}, timeout=TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _log.warning("an alert could not be told (%s): %s", type(error).__name__, text)
        return False
    if answer.is_success:
        return True
    _log.warning("an alert was refused with status %s: %s", answer.status_code, text)
    return False
