"""What the bot says of itself: in whose hands a chat is, what it costs, how it is used."""

from __future__ import annotations

import time

from ..chain.wallet import format_ton
from ..gateway.backend import Model
from .buying import Outcome
from .ledger import ChatCost

__all__ = ["HELP", "STRANGER", "cost", "footer", "models", "start"]

NOTHING_CONFIDENTIAL = "SIMULATED TEE: NOTHING IS CONFIDENTIAL"
HELP = """Write a question; the answer grows while a worker makes it.

/new - forget what was said, and begin anew
/stop - end the answer that is being written
/model - show the models; /model NAME chooses one
/cost - what this chat cost, your budget, receipts
/receipt ID - a receipt as a file
/start - who can read this chat"""
STRANGER = "This bot answers only people its owner lists. Your number is {user_id}; give it to them if they know you."
_WHO_READS = """Who can read this chat:
- Telegram. Chats with bots are not end-to-end encrypted; Telegram's servers hold yours.
- Whoever runs this bot, while it passes your words on. It keeps costs and receipts, and your last turns in memory \
only, until /new or a restart."""
_PROTECTED = """- Not the owner of the machine that answers: from the bot on, your words are sealed to an enclave \
whose attestation was checked, and neither its host nor the network can read them."""
_UNPROTECTED = """- Whoever runs the worker that answers. With real hardware an enclave would keep its host out; on \
this network nothing does. Write nothing here that is not public."""


def start(banner: str | None, left_nano: int) -> str:
    """banner: what has to be said of a network without hardware."""
    parts = [] if banner is None else [banner]
    parts += [
        "This bot passes your questions to an AI model on the Cocoon network and pays the worker that answers.",
        f"{_WHO_READS}\n{_PROTECTED if banner is None else _UNPROTECTED}",
        f"It may spend {format_ton(left_nano)} more for you today.",
        HELP,
    ]
    return "\n\n".join(parts)


def footer(outcome: Outcome, *, simulated: bool) -> str:
    """Under every answer, whole or not."""
    lines = [] if outcome.complaint is None else [outcome.complaint]
    if outcome.receipt_id is not None:
        lines.append(f"{format_ton(outcome.fee_nano)} · {outcome.receipt_id}")
    elif outcome.fee_nano:
        lines.append(f"It cost at most {format_ton(outcome.fee_nano)}.")
    else:
        lines.append("It cost nothing.")
    if simulated:
        lines.append(NOTHING_CONFIDENTIAL)
    return "\n".join(["—", *lines])


def cost(found: ChatCost, spent_today: int, budget: int, left: int) -> str:
    answers = f"{found.answers} {'answer' if found.answers == 1 else 'answers'}"
    lines = [
        f"This chat: {format_ton(found.spent_nano)} for {answers}.",
        f"You today: {format_ton(spent_today)} of {format_ton(budget)}; {format_ton(left)} can still be spent.",
    ]
    if found.last:
        lines += ["", "Last receipts (/receipt ID sends one as a file for `cocoon receipt verify`):"]
    for entry in found.last:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.created))
        lines.append(f"{when} UTC  {format_ton(entry.fee_nano)}  {entry.receipt_id}")
    return "\n".join(lines)


def models(offered: list[Model], chosen: str | None) -> str:
    """chosen: the model id this chat uses."""
    if not offered:
        return "No model is on offer right now; try again later."
    lines = ["Models, with the lowest price per million tokens of question / answer:"]
    for model in offered:
        mark = "* " if model.model_id == chosen else "  "
        if model.terms is None:
            state = "no worker now"
        else:
            prices = f"{format_ton(model.terms.prompt_nano)} / {format_ton(model.terms.completion_nano)}"
            state = f"{prices}, {model.workers} {'worker' if model.workers == 1 else 'workers'}"
        lines.append(f"{mark}{model.names[0]}: {state}")
    return "\n".join([*lines, "", "/model NAME chooses one; * is yours."])
