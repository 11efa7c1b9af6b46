"""A judge behind an OpenAI-compatible endpoint. Its key is read from the environment, sent to that address, and kept nowhere."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from typing import Any
from urllib.parse import urlsplit

from dynaip.errors import InputError, MissingDependency
from dynaip.judging.answers import Reply
from dynaip.judging.asking import Lasting, Passing
from dynaip.judging.questions import Question, png
from dynaip.suggest import one_line

from .config import VlmConfig

OPENAI = "https://api.openai.com/v1"
KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
POINTLESS = (401, 403, 404)
"""A wrong key, no right, no such model or address: the next question would meet the same."""
REFUSED = frozenset({"content_filter", "content_policy_violation"})


def address(config: VlmConfig) -> str:
    """Where questions go; ``InputError`` for an address that only a config names: configs come from strangers, too."""
    allowed = os.environ.get(ADDRESS) or OPENAI
    wanted = config.base_url or allowed
    if wanted.rstrip("/") != allowed.rstrip("/") and urlsplit(wanted).hostname not in HERE:
        raise InputError(
            f"metric vlm: pictures would go to {wanted}: if you want that, set {ADDRESS}={wanted} in the environment"
        )
    return wanted.rstrip("/")


class Endpoint:
    """Asks through the ``openai`` client."""

    def __init__(self, config: VlmConfig) -> None:
        self.config = config
        self.address = address(config)
        self._client: Any = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that answers depend on."""
        config = self.config
        sampling = {"temperature": config.temperature, "max_tokens": config.max_tokens, "structured": config.structured}
        return {"model": config.model, "address": self.address, **sampling}

    def prepare(self) -> None:
        """Make the client; ``InputError`` if there is no key where one is needed."""
        try:
            import openai
        except ImportError as error:
            raise MissingDependency(
                'metric vlm asks an endpoint through openai: pip install "dynaip[judges]"'
            ) from error
        key = os.environ.get(KEY, "")
        if not key and self.address == OPENAI:
            raise InputError(f"metric vlm: set {KEY} in the environment (or {ADDRESS} for an endpoint of your own)")
        named = self.address == (os.environ.get(ADDRESS) or OPENAI).rstrip("/")
        self._key = key if named else ""  # a key goes where the environment says, not where a config does
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=self.address, timeout=self.config.timeout, max_retries=0
        )

    def ask(self, question: Question) -> Reply:
        """One call."""
        import openai

        start = time.monotonic()
        try:
            found = self._client.chat.completions.create(**self._call(question))
            reply = _reply(found, time.monotonic() - start)
            return replace(reply, text=self._keyless(reply.text), refusal=self._keyless(reply.refusal))
        except openai.APIStatusError as error:
            if str(error.code or "") in REFUSED:
                return Reply("", "content_filter", self._safe(error), seconds=time.monotonic() - start)
            raise self._failed(error) from None
        except (openai.APIError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise Passing(self._safe(error)) from None

    def _call(self, question: Question) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        for name, image in question.pictures:
            data = base64.b64encode(png(image)).decode("ascii")
            parts += [{"type": "text", "text": name}]
            parts += [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]
        parts.append({"type": "text", "text": question.text})
        call: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }
        schema = question.rubric.schema
        if self.config.structured == "response_format":
            named = {"name": question.rubric.answer, "schema": schema, "strict": True}
            call["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.config.structured == "structured_outputs":
            call["extra_body"] = {"structured_outputs": {"json": schema}}
        if self.config.temperature:
            call["seed"] = question.repeat
        return call

    def _failed(self, error: Any) -> Exception:
        status, code = int(error.status_code), str(getattr(error, "code", "") or "")
        why = self._safe(error)
        if status in POINTLESS or code == "insufficient_quota":
            return InputError(f"metric vlm: {self.address} answers {status}: {why}")
        if status in (408, 409, 425, 429) or status >= 500:
            return Passing(f"{status}: {why}", _after(error.response.headers))
        return Lasting(f"{status}: {why}")

    def _safe(self, error: BaseException) -> str:
        """The message of an error, without the key that some servers repeat in theirs; it is taken out before the text is cut."""
        return self._keyless(one_line(error))[:300]

    def _keyless(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


def _after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: milliseconds as OpenAI writes them, seconds or a date (RFC 9110, 10.2.3)."""
    milliseconds, given = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    try:
        return max(0.0, float(milliseconds) / 1000 if milliseconds else float(given or 0))
    except ValueError:
        date = parsedate_tz(given)
        return max(0.0, mktime_tz(date) - time.time()) if date else 0.0


def _reply(found: Any, seconds: float) -> Reply:
    choice = found.choices[0]
    message, usage = choice.message, found.usage
    text = message.content
    if text is not None and not isinstance(text, str):
        raise ValueError("the server's answer has no text")
    return Reply(
        text or "",
        str(choice.finish_reason or ""),
        str(getattr(message, "refusal", None) or ""),
        int(getattr(usage, "prompt_tokens", 0) or 0),
        int(getattr(usage, "completion_tokens", 0) or 0),
        seconds,
    )
