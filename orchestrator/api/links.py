"""`/approve/TOKEN`: a page for who has a link to an approval, and no key.

Looking decides nothing, since mail scanners follow links; the form on the page does. Nothing here
needs scripts, and none may run.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from orchestrator.api.asking import Use
from orchestrator.errors import Conflict, InvalidInput, NotFound, RefusedError
from orchestrator.ports import Decision, WaitRecord

router = APIRouter(prefix="/approve", include_in_schema=False)

LARGEST_FORM = 20_000
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}
_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;padding:.6rem;border:1px solid #888}textarea{width:100%;font:inherit}"
    "button{font:inherit;padding:.5rem 1.2rem;margin-right:1rem}"
    ":root{color-scheme:light dark}"
)


@router.get("/{token}")
async def look(token: str, services: Use) -> Response:
    """What is asked, with a form; or who has decided, and when."""
    try:
        wait, name, is_good = await services.links.read(token)
    except RefusedError as error:
        return _told(error)
    if not wait.is_open:
        return _page(200, _decided(wait))
    if not is_good:
        return _page(410, "<h1>This link is not good any more</h1><p>Ask for a new one.</p>")
    return _page(200, _form(wait, name))


@router.post("/{token}")
async def decide(token: str, request: Request, services: Use) -> Response:
    """Approve or reject, once."""
    form = parse_qs((await request.body())[:LARGEST_FORM].decode("utf-8", "replace"))
    try:
        decision = Decision(form.get("decision", [""])[0])
    except ValueError:
        return _page(422, "<h1>Approve or reject?</h1><p>Go back and choose one.</p>")
    reason = form.get("reason", [""])[0]
    try:
        wait = await services.links.decide(token, decision, reason=reason)
    except RefusedError as error:
        return _told(error)
    return _page(200, _decided(wait))


def _told(error: RefusedError) -> Response:
    statuses: Mapping[type[RefusedError], int] = {NotFound: 404, Conflict: 409, InvalidInput: 422}
    lines = "".join(
        f"<li>found {html.escape(p.found)}; wanted {html.escape(p.wanted)}</li>"
        for p in error.problems
    )
    status = next((code for kind, code in statuses.items() if isinstance(error, kind)), 404)
    return _page(status, f"<h1>{html.escape(error.message)}</h1><ul>{lines}</ul>")


def _decided(wait: WaitRecord) -> str:
    if wait.is_open:
        why = "Two persons have to approve: it is approved when another one has done so as well."
        return f"<h1>Your approval is kept</h1><p>{_message(wait)}</p><p>{why}</p>"
    by = f" by {html.escape(wait.closed_by)}" if wait.closed_by else ""
    at = "" if wait.closed_at is None else f", {wait.closed_at:%Y-%m-%d %H:%M} UTC"
    return f"<h1>It is {wait.outcome}{by}</h1><p>{_message(wait)}{at}</p>"


def _form(wait: WaitRecord, name: str) -> str:
    shown: Any = wait.asked.get("show")
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    until = "" if wait.expires_at is None else f"<p>Until {wait.expires_at:%Y-%m-%d %H:%M} UTC.</p>"
    return (
        f"<h1>{_message(wait)}</h1>"
        + (f"<pre>{html.escape(text)}</pre>" if shown else "")
        + f"<p>{html.escape(wait.workflow)}, step {html.escape(wait.step_id)}. "
        f"You decide as {html.escape(name)}.</p>{until}"
        '<form method="post"><p><label>Why (wanted where you reject)<br>'
        '<textarea name="reason" rows="3" maxlength="2000"></textarea></label></p>'
        '<p><button name="decision" value="approved">Approve</button>'
        '<button name="decision" value="rejected">Reject</button></p></form>'
    )


def _message(wait: WaitRecord) -> str:
    return html.escape(str(wait.asked.get("message", "")))


def _page(status: int, content: str) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Approval</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{content}</main></body></html>",
        status_code=status, headers=HEADERS,
    )  # fmt: skip
